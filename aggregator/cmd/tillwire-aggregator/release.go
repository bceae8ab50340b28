package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"tillwire/aggregator"
	"tillwire/protocol/release"
)

// releaseCommands make and publish releases of the agent. Keys are files that need
// not lie on the aggregator's machine, and better do not: sign elsewhere, publish here.
func releaseCommands() []command {
	return []command{
		{"release keygen", "--out FILE", "make a key that signs releases, and print its public half for releases.keys", "tillwire-aggregator release keygen --out release.key", keygenCommand},
		{"release sign", "--key FILE --version V --sequence N --program OS/ARCH=FILE… --out OFFER | --key FILE --add OFFER", "sign a release of the agent, or add a second signature to one", "tillwire-aggregator release sign --key release.key --version v1.4.0 --sequence 7 --program linux/amd64=dist/tillwire-agent --out offer.json", signCommand},
		{"release keys", "--offer OFFER --keys-version N --threshold T --public KEYS --key OLD --key NEW…", "write a change of the keys into an offer, signed by old and new ones; then sign a release with the new ones", "", keysCommand},
		{"release publish", "--offer OFFER FILE…", "offer a release to the shops; `PUT /v1/releases/rollout` says who is to run it", "tillwire-aggregator release publish --offer offer.json dist/tillwire-agent", publishCommand},
	}
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// bare are flags of a command that reads no configuration.
func bare(in *invocation, name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(in.stderr)
	return fs
}

func keygenCommand(_ context.Context, in *invocation) error {
	fs := bare(in, "release keygen")
	out := fs.String("out", "", "`file` of the private key; it must not exist")
	if err := fs.Parse(in.args); err != nil || *out == "" {
		return fmt.Errorf("%w: --out is missing", errUsage)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	file, err := os.OpenFile(*out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write the key: %w", err)
	}
	if err := pem.Encode(file, &pem.Block{Type: "PRIVATE KEY", Bytes: der}); err != nil {
		return fmt.Errorf("write the key: %w", err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("write the key: %w", err)
	}
	_, err = fmt.Fprintln(in.stdout, release.PublicName(key))
	return err
}

func readKey(path string) (ed25519.PrivateKey, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read a key: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("read a key: %s holds no PEM", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read a key: %s: %w", path, err)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read a key: %s holds no Ed25519 key", path)
	}
	return private, nil
}

func readOffer(path string) (o release.Offer, err error) {
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &o)
	}
	if err != nil {
		return o, fmt.Errorf("read the offer: %w", err)
	}
	return o, nil
}

func writeOffer(path string, o *release.Offer) error {
	b, err := json.MarshalIndent(o, "", " ")
	if err == nil {
		err = os.WriteFile(path, append(b, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write the offer: %w", err)
	}
	return nil
}

func signCommand(_ context.Context, in *invocation) error {
	fs := bare(in, "release sign")
	key := fs.String("key", "", "`file` of the private key")
	add := fs.String("add", "", "`offer` that gets a further signature, and no other change")
	out := fs.String("out", "", "`file` of the offer")
	from := fs.String("from", "", "`offer` whose changes of keys are carried on; the last one published")
	version := fs.String("version", "", "`version` that the programs print")
	sequence := fs.Uint64("sequence", 0, "`number`, higher than that of the release before")
	expires := fs.Duration("expires", 90*24*time.Hour, "how `long` the release may be begun; sign it again before")
	var programs list
	fs.Var(&programs, "program", "`OS/ARCH=FILE`, once for each platform")
	if err := fs.Parse(in.args); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	private, err := readKey(*key)
	if err != nil {
		return err
	}
	if *add != "" {
		o, err := readOffer(*add)
		if err != nil {
			return err
		}
		o.Release.SignManifest(private)
		return writeOffer(*add, &o)
	}
	if *out == "" {
		return fmt.Errorf("%w: --out is missing", errUsage)
	}
	m, err := describe(*version, *sequence, *expires, programs)
	if err != nil {
		return err
	}
	var o release.Offer
	if *from != "" {
		if o, err = readOffer(*from); err != nil {
			return err
		}
	}
	e, err := release.SealManifest(m)
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	e.SignManifest(private)
	o.Release = *e
	return writeOffer(*out, &o)
}

func describe(version string, sequence uint64, expires time.Duration, programs list) (*release.Manifest, error) {
	now := time.Now().UTC().Truncate(time.Second)
	m := &release.Manifest{V: 1, Product: release.Product, Version: version, Sequence: sequence, IssuedAt: now, ExpiresAt: now.Add(expires)}
	for _, p := range programs {
		platform, path, ok := strings.Cut(p, "=")
		goos, arch, two := strings.Cut(platform, "/")
		if !ok || !two {
			return nil, fmt.Errorf("%w: --program %q is not OS/ARCH=FILE", errUsage, p)
		}
		a, err := aggregator.DescribeProgram(path, goos, arch)
		if err != nil {
			return nil, err
		}
		m.Artifacts = append(m.Artifacts, a)
	}
	return m, nil
}

func keysCommand(_ context.Context, in *invocation) error {
	fs := bare(in, "release keys")
	offer := fs.String("offer", "", "`file` of the offer")
	version := fs.Uint64("keys-version", 0, "`number` of the set, one higher than that of the set before")
	threshold := fs.Int("threshold", 1, "how `many` of the keys it takes")
	public := fs.String("public", "", "the `keys` of the set, separated by commas")
	var with list
	fs.Var(&with, "key", "`file` of a private key that signs the change, old ones and new ones")
	if err := fs.Parse(in.args); err != nil || *offer == "" {
		return fmt.Errorf("%w: --offer, --keys-version, --public and --key are needed", errUsage)
	}
	o, err := readOffer(*offer)
	if err != nil {
		return err
	}
	e, err := release.SealKeys(&release.Keys{Version: *version, Threshold: *threshold, Public: strings.Split(*public, ",")})
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	for _, path := range with {
		private, err := readKey(path)
		if err != nil {
			return err
		}
		e.SignKeys(private)
	}
	o.Keys = append(o.Keys, *e)
	return writeOffer(*offer, &o)
}

func publishCommand(_ context.Context, in *invocation) error {
	f := newFlags(in, "release publish")
	offer := f.String("offer", "", "`file` of the offer")
	if err := f.Parse(in.args); err != nil || *offer == "" {
		return fmt.Errorf("%w: --offer is missing", errUsage)
	}
	c, err := f.load(in)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(*offer)
	if err != nil {
		return fmt.Errorf("read the offer: %w", err)
	}
	m, err := aggregator.PublishRelease(c, b, f.Args())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(in.stdout, "version %s (sequence %d) is released until %s, for %d platforms; nobody runs it before a rollout says so: PUT /v1/releases/rollout\n",
		m.Version, m.Sequence, m.ExpiresAt.Format(time.RFC3339), len(m.Artifacts))
	return err
}
