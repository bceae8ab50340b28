package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"tillwire/aggregator"
	"tillwire/protocol"
)

// identityCommands are about who may speak: agents by certificate, programs by key,
// and the authority behind the certificates.
func identityCommands() []command {
	const at = "[--data-dir DIR | --url URL] [--json]"
	const agent = "--store S [--agent A] [--data-dir DIR | --url URL] [--json]"
	return []command{
		{"identity list", at, "list who may speak as an agent, until when, and who is revoked", "", identityListCommand},
		{"identity revoke", agent + " [--reason TEXT]", "shut an agent out and end its session; it keeps journaling until it is enrolled again", "tillwire-aggregator identity revoke --store S0042 --reason stolen", identityRevokeCommand},
		{"identity sign", agent + " --csr FILE --out FILE", "enrol a host that cannot reach us: sign the request that was brought by hand", "", identitySignCommand},
		{"key list", "[--data-dir DIR] [--json]", "list the API keys that were issued; never the keys themselves", "", keyListCommand},
		{"key revoke", "[--data-dir DIR] ID|NAME", "end an API key, or all of a name", "tillwire-aggregator key revoke web", keyRevokeCommand},
		{"ca init", "[--data-dir DIR]", "make the chain's own authority: a root, and the issuing certificate that signs", "", caInitCommand},
		{"ca show", "[--data-dir DIR]", "print the roots that agents pin, as PEM, with their pin and end on stderr", "", caShowCommand},
		{"ca export-root", "--out FILE [--remove-key] [--data-dir DIR]", "copy the root with its key, and take the key off this machine", "tillwire-aggregator ca export-root --out /media/safe/root.pem --remove-key", caExportCommand},
		{"ca request", "[--data-dir DIR]", "print a request for an issuing certificate, for an authority elsewhere to sign", "", caRequestCommand},
		{"ca import", "--cert FILE [--root FILE] [--key FILE] [--data-dir DIR]", "have an issuing certificate of another authority sign from the next start on", "", caImportCommand},
		{"ca trust", "--root FILE [--data-dir DIR]", "add a root to those that agents learn when they renew, a lifetime before it is used", "", caTrustCommand},
	}
}

func identityListCommand(ctx context.Context, in *invocation) error {
	f := newFlags(in, "identity list")
	at := f.String("url", "", "`URL` of an aggregator elsewhere, whose API key is in "+keyVariable)
	asJSON := f.Bool("json", false, "print the answer as JSON")
	c, err := f.parse(in)
	if err != nil {
		return err
	}
	var a *asker
	if *at != "" {
		a, err = askAt(*at, in.lookup, askTakes)
	} else {
		a, err = askOwn(c, "ops", "identity-command", askTakes)
	}
	if err != nil {
		return err
	}
	b, err := a.do(ctx, "GET", []string{"v1", "identities"}, nil)
	var got struct {
		Identities []protocol.Identity `json:"identities"`
	}
	if err := into(b, err, &got); err != nil {
		return err
	}
	if *asJSON {
		_, err := fmt.Fprintln(in.stdout, string(b))
		return err
	}
	w := tabwriter.NewWriter(in.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "STORE\tAGENT\tKIND\tSTATUS\tENDS\tREASON")
	for i := range got.Identities {
		x := &got.Identities[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", x.Store, x.Agent, x.Kind, x.Status, when(x.NotAfter), x.Reason)
	}
	return w.Flush()
}

func when(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func identityRevokeCommand(ctx context.Context, in *invocation) error {
	t, read := newTarget(in, "identity revoke", "")
	reason := t.String("reason", "", "why, for whoever asks later")
	if err := errors.Join(read(), t.noWords()); err != nil {
		return err
	}
	b, err := t.do(ctx, "POST", []string{"v1", "identities", string(t.origin.Store), string(t.origin.Agent), "revoke"}, map[string]string{"reason": *reason})
	if err != nil {
		return err
	}
	if t.json {
		_, err = fmt.Fprintln(in.stdout, string(b))
		return err
	}
	_, err = fmt.Fprintf(in.stdout, "%s is revoked and its session ended; to let the host in again: tillwire-aggregator token --enroll --store %s, then tillwire-agent enroll --again\n", t.origin, t.origin.Store)
	return err
}

func identitySignCommand(ctx context.Context, in *invocation) error {
	t, read := newTarget(in, "identity sign", "")
	csr := t.String("csr", "", "`file` with the host's PEM certificate request")
	out := t.String("out", "", "`file` for the certificate; the authority is written beside it as FILE.ca")
	t.role = "admin"
	if err := errors.Join(read(), t.noWords()); err != nil {
		return err
	}
	if *csr == "" || *out == "" {
		return fmt.Errorf("%w: --csr and --out are needed", errUsage)
	}
	req, err := os.ReadFile(*csr)
	if err != nil {
		return fmt.Errorf("read --csr: %w", err)
	}
	b, err := t.do(ctx, "POST", []string{"v1", "identities"}, map[string]string{"store": string(t.origin.Store), "agent": string(t.origin.Agent), "csr": string(req)})
	var got protocol.Enrolled
	if err := into(b, err, &got); err != nil {
		return err
	}
	if got.Certificate == "" {
		return errors.New("this aggregator issues no certificates; set mqtt.tls = \"own\"")
	}
	if err := errors.Join(os.WriteFile(*out, []byte(got.Certificate), 0o600), os.WriteFile(*out+".ca", []byte(got.CA), 0o600)); err != nil {
		return fmt.Errorf("write --out: %w", err)
	}
	_, err = fmt.Fprintf(in.stdout, "signed for %s/%s; link.cert_file = %s, link.ca_file = %s.ca, link.broker = %s\n", got.Store, got.Agent, *out, *out, got.Broker)
	return err
}

func keyListCommand(_ context.Context, in *invocation) error {
	f := newFlags(in, "key list")
	asJSON := f.Bool("json", false, "print the list as JSON")
	c, err := f.parse(in)
	if err != nil {
		return err
	}
	keys, err := aggregator.APIKeys(c)
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(in.stdout).Encode(map[string]any{"keys": keys})
	}
	w := tabwriter.NewWriter(in.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tROLE\tSTATUS\tCREATED\tENDS")
	for i := range keys {
		k := &keys[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Name, k.Role, k.Status, k.CreatedAt.UTC().Format(time.RFC3339), when(k.ExpiresAt))
	}
	return w.Flush()
}

func keyRevokeCommand(_ context.Context, in *invocation) error {
	f := newFlags(in, "key revoke")
	if err := f.Parse(in.args); err != nil || f.NArg() != 1 {
		return fmt.Errorf("%w: name one key by its id, or all of a name", errUsage)
	}
	c, err := f.load(in)
	if err != nil {
		return err
	}
	if err := aggregator.RevokeKey(c, f.Arg(0)); err != nil {
		return fmt.Errorf("%w; `tillwire-aggregator key list` shows them", err)
	}
	_, err = fmt.Fprintf(in.stdout, "%s is revoked; a running aggregator refuses it within two seconds\n", f.Arg(0))
	return err
}

func caInitCommand(_ context.Context, in *invocation) error {
	c, err := newFlags(in, "ca init").parse(in)
	if err != nil {
		return err
	}
	a, err := aggregator.InitAuthority(c)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(in.stdout, "authority made, pin %s, good until %s\nnext: tillwire-aggregator ca export-root --out FILE --remove-key, and FILE into the safe; then mqtt.tls = \"own\"\n", a.Pin, a.Ends.UTC().Format(time.DateOnly))
	return err
}

func caShowCommand(_ context.Context, in *invocation) error {
	c, err := newFlags(in, "ca show").parse(in)
	if err != nil {
		return err
	}
	a, err := aggregator.ShowAuthority(c)
	if err != nil {
		return err
	}
	fmt.Fprintf(in.stderr, "pin %s, good until %s\n", a.Pin, a.Ends.UTC().Format(time.DateOnly))
	_, err = in.stdout.Write(a.Roots)
	return err
}

func caExportCommand(_ context.Context, in *invocation) error {
	f := newFlags(in, "ca export-root")
	out := f.String("out", "", "`file` for root and key; it must not exist")
	remove := f.Bool("remove-key", false, "take the root's key out of the data folder")
	c, err := f.parse(in)
	if err != nil {
		return err
	}
	if *out == "" {
		return fmt.Errorf("%w: --out is needed", errUsage)
	}
	if err := aggregator.ExportRoot(c, *out, *remove); err != nil {
		return err
	}
	left := "the key is still in the data folder too; --remove-key takes it out"
	if *remove {
		left = "the key is not in the data folder any more"
	}
	_, err = fmt.Fprintf(in.stdout, "%s holds the root and its key; %s\n", *out, left)
	return err
}

func caRequestCommand(_ context.Context, in *invocation) error {
	c, err := newFlags(in, "ca request").parse(in)
	if err != nil {
		return err
	}
	csr, err := aggregator.RequestAuthority(c)
	if err != nil {
		return err
	}
	_, err = in.stdout.Write(csr)
	return err
}

func caImportCommand(_ context.Context, in *invocation) error {
	f := newFlags(in, "ca import")
	cert := f.String("cert", "", "PEM `file`: the issuing certificate, then those above it")
	root := f.String("root", "", "PEM `file` of the root, where --cert does not hold it")
	key := f.String("key", "", "PEM `file` of the issuing certificate's key, where it was not asked for with `ca request`")
	c, err := f.parse(in)
	if err != nil {
		return err
	}
	chain, err1 := fileOf("--cert", *cert, true)
	roots, err2 := fileOf("--root", *root, false)
	k, err3 := fileOf("--key", *key, false)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	a, err := aggregator.ImportAuthority(c, chain, roots, k)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(in.stdout, "imported, pin %s, good until %s; restart the aggregator\n", a.Pin, a.Ends.UTC().Format(time.DateOnly))
	return err
}

func caTrustCommand(_ context.Context, in *invocation) error {
	f := newFlags(in, "ca trust")
	root := f.String("root", "", "PEM `file` of the root")
	c, err := f.parse(in)
	if err != nil {
		return err
	}
	b, err := fileOf("--root", *root, true)
	if err != nil {
		return err
	}
	if _, err := aggregator.TrustRoot(c, b); err != nil {
		return err
	}
	_, err = fmt.Fprintln(in.stdout, "trusted; restart the aggregator, and agents learn it when they renew")
	return err
}

func fileOf(flag, path string, must bool) ([]byte, error) {
	if path == "" {
		if must {
			return nil, fmt.Errorf("%w: %s is needed", errUsage, flag)
		}
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", flag, err)
	}
	return b, nil
}
