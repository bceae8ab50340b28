package aggregator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"tillwire/aggregator/fleet"
	"tillwire/aggregator/release"
	"tillwire/protocol"
	signed "tillwire/protocol/release"
	"tillwire/store/ledger"
)

// factRollout keeps the rollout that is under way.
const factRollout = "releases/rollout"

// releasesDir is the folder of what is published, in the data folder.
const releasesDir = "releases"

// ReleasesConfig says whose releases this chain's agents run.
type ReleasesConfig struct {
	Keys        []string `toml:"keys" help:"base64 of the Ed25519 keys that sign agent releases; agents that enrol are told; empty: agents do not update themselves"`
	Threshold   int      `toml:"threshold" help:"how many of the keys it takes"`
	KeysVersion uint64   `toml:"keys_version" help:"version of that set of keys; raise it with every change"`
}

func (c *ReleasesConfig) trusted() signed.Keys {
	if len(c.Keys) == 0 {
		return signed.Keys{}
	}
	return signed.Keys{Version: c.KeysVersion, Threshold: c.Threshold, Public: c.Keys}
}

func (c *ReleasesConfig) check() error {
	if len(c.Keys) == 0 {
		return nil
	}
	k := c.trusted()
	if err := k.Check(); err != nil {
		return fmt.Errorf("releases.keys: %w; `tillwire-aggregator release keygen` makes one", err)
	}
	return nil
}

// ReleasesFolder is where a data folder keeps what is published.
func ReleasesFolder(c Config) release.Folder {
	return release.Folder(filepath.Join(c.DataDir, releasesDir))
}

// PublishRelease makes an offer what shops are offered; a running aggregator serves
// it from then on.
func PublishRelease(c Config, offer []byte, programs []string) (*signed.Manifest, error) {
	if len(c.Releases.Keys) == 0 {
		return nil, errors.New("releases.keys is empty; name the keys whose releases this chain's agents run")
	}
	return ReleasesFolder(c).Publish(offer, c.Releases.trusted(), programs, time.Now())
}

func (a *Aggregator) openReleases() error {
	kept, err := a.ledger.Fact(factRollout)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return fmt.Errorf("read the rollout: %w", err)
	}
	a.releases, err = release.New(release.Options{
		Folder: ReleasesFolder(a.cfg), Log: a.deps.Log, Now: a.deps.Now, Kept: kept,
		Keep:   func(ctx context.Context, b []byte) error { return a.ingest.PutFact(ctx, factRollout, b) },
		Agents: a.agentsToUpdate, Ask: a.askForVersion,
		Raise: func(summary string) { a.fleet.Chain(fleet.CodeRolloutStopped, summary) },
	})
	return err
}

// agentsToUpdate are those that have spoken, with what they were asked to run.
func (a *Aggregator) agentsToUpdate(ctx context.Context) ([]release.Agent, error) {
	var out []release.Agent
	for _, listed := range a.fleet.Statuses() {
		s, _ := a.fleet.Status(listed.Store) // the list has no agents
		for i := range s.Agents {
			g := &s.Agents[i]
			o := protocol.Origin{Store: g.Store, Agent: g.Agent}
			if g.AgentVersion == "" || o.IsFeed() {
				continue
			}
			st, err := a.ingest.DesiredState(ctx, o)
			if p := (*protocol.Problem)(nil); errors.As(err, &p) {
				continue // it never had a session
			}
			if err != nil {
				return nil, err
			}
			x := release.Agent{Origin: o, Region: s.Region, Version: g.AgentVersion}
			_ = json.Unmarshal(st.Values[protocol.DesiredAgentVersion], &x.Asked) // not there: nothing was asked
			if g.Update != nil && g.Update.State == protocol.UpdateFailed && g.Update.Wanted == x.Asked {
				x.Failed = g.Update.Reason
			}
			out = append(out, x)
		}
	}
	return out, nil
}

// askForVersion sets one key of an agent's desired state. Somebody who changed it
// meanwhile is not overwritten: the next step asks again.
func (a *Aggregator) askForVersion(ctx context.Context, o protocol.Origin, version, who string) error {
	st, err := a.ingest.DesiredState(ctx, o)
	if err != nil {
		return err
	}
	values := map[string]json.RawMessage{}
	for k, v := range st.Values {
		values[k] = v
	}
	values[protocol.DesiredAgentVersion] = protocol.DesiredValue(protocol.DesiredAgentVersion, version)
	_, err = a.ingest.WantState(ctx, o, values, &st.Version, who)
	return err
}

// DescribeProgram makes a manifest's line for a program on disk.
func DescribeProgram(path, goos, arch string) (signed.Artifact, error) {
	return release.Describe(path, goos, arch)
}
