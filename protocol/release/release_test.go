package release

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// signer makes a key out of a number.
func signer(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(append(make([]byte, ed25519.SeedSize-1), n))
}

func set(version uint64, threshold int, of ...byte) Keys {
	k := Keys{Version: version, Threshold: threshold}
	for _, n := range of {
		k.Public = append(k.Public, PublicName(signer(n)))
	}
	return k
}

func manifest(version string, sequence uint64) *Manifest {
	return &Manifest{
		V: 1, Product: Product, Version: version, Sequence: sequence, IssuedAt: now.Add(-time.Hour), ExpiresAt: now.Add(30 * 24 * time.Hour),
		Artifacts: []Artifact{{OS: "linux", Arch: "amd64", Size: 5, SHA256: strings.Repeat("ab", 32)}},
	}
}

func released(t testing.TB, m *Manifest, by ...byte) Envelope {
	t.Helper()
	e, err := SealManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range by {
		e.SignManifest(signer(n))
	}
	return *e
}

func changed(t testing.TB, k Keys, by ...byte) Envelope {
	t.Helper()
	e, err := SealKeys(&k)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range by {
		e.SignKeys(signer(n))
	}
	return *e
}

func offer(t testing.TB, release Envelope, keys ...Envelope) []byte {
	t.Helper()
	b, err := json.Marshal(Offer{Keys: keys, Release: release})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestWhatAMirrorCanDo has each way of attacking an updater that the TUF
// specification (section 1.5.2) names, and what becomes of it here. Slow retrieval
// and endless programs are the fetcher's: agent/update tests them.
func TestWhatAMirrorCanDo(t *testing.T) {
	two := set(1, 2, 1, 2, 3)
	seen := func(t *testing.T) Trust {
		tr, _, err := Trust{Keys: two}.Follow(offer(t, released(t, manifest("v2", 7), 1, 2)), now)
		if err != nil {
			t.Fatal(err)
		}
		return tr
	}
	expired := manifest("v3", 8)
	expired.IssuedAt, expired.ExpiresAt = now.Add(-48*time.Hour), now.Add(-time.Hour)
	other := manifest("v2", 7)
	other.Artifacts[0].SHA256 = strings.Repeat("cd", 32)
	wrongProduct := manifest("v3", 8)
	wrongProduct.Product = "tillwire-aggregator"
	relabelled := released(t, manifest("v3", 8), 1, 2)
	relabelled.Signed = []byte(strings.Replace(string(relabelled.Signed), `"arch":"amd64"`, `"arch":"arm64"`, 1))
	twice := released(t, manifest("v3", 8), 1)
	twice.Signatures = append(twice.Signatures, twice.Signatures[0])
	asKeys := released(t, manifest("v3", 8), 1)
	asKeys.SignKeys(signer(2))
	for name, c := range map[string]struct {
		offer []byte
		want  string // in the error; "" is accepted
	}{
		"nothing of all this":                          {offer(t, released(t, manifest("v3", 8), 1, 3)), ""},
		"the same again":                               {offer(t, released(t, manifest("v2", 7), 1, 2)), ""},
		"arbitrary software: no signature":             {offer(t, released(t, manifest("v3", 8))), "signed by 0"},
		"arbitrary software: a stranger's key":         {offer(t, released(t, manifest("v3", 8), 8, 9)), "signed by 0"},
		"key compromise below the threshold":           {offer(t, released(t, manifest("v3", 8), 1)), "signed by 1 of the trusted keys, it takes 2"},
		"one key counts once":                          {offer(t, twice), "signed by 1"},
		"a signature of another kind":                  {offer(t, asKeys), "signed by 1"},
		"rollback":                                     {offer(t, released(t, manifest("v1", 6), 1, 2)), "it is an older one"},
		"indefinite freeze":                            {offer(t, released(t, expired, 1, 2)), "expired"},
		"mix and match: two releases under one number": {offer(t, released(t, other, 1, 2)), "one of them is not what its signers published"},
		"wrong software: another product":              {offer(t, unchecked(t, wrongProduct, 1, 2)), `product is "tillwire-aggregator"`},
		"wrong software: another platform's":           {offer(t, relabelled), "signed by 0"},
		"endless data":                                 {[]byte(strings.Repeat(" ", OfferBytesMax+1)), "at most"},
		"an endless list of signatures":                {offer(t, released(t, manifest("v3", 8), many(signaturesMax+1)...)), "are looked at"},
		"a program too large":                          {offer(t, unchecked(t, huge(), 1, 2)), "size"},
		"fields that we do not understand":             {[]byte(`{"release":{"signed":"","signatures":[]},"mirrors":[]}`), "unknown field"},
		"keys that nobody signed":                      {offer(t, released(t, manifest("v3", 8), 8), changed(t, set(2, 1, 8), 8)), "signed by 0 of the trusted keys"},
		"keys signed by too few":                       {offer(t, released(t, manifest("v3", 8), 8), changed(t, set(2, 1, 8), 1, 8)), "signed by 1 of the trusted keys"},
		"keys that cannot sign for themselves":         {offer(t, released(t, manifest("v3", 8), 8), changed(t, set(2, 1, 8), 1, 2)), "signed by 0 of themselves"},
		"keys that skip a step":                        {offer(t, released(t, manifest("v3", 8), 8), changed(t, set(3, 1, 8), 1, 2, 8)), "cannot follow"},
	} {
		t.Run(name, func(t *testing.T) {
			was := seen(t)
			tr, m, err := was.Follow(c.offer, now)
			if c.want == "" {
				if err != nil || m == nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v does not say %q", err, c.want)
			}
			if m != nil || tr.Sequence != was.Sequence || tr.Digest != was.Digest {
				t.Errorf("a refused offer changed what is trusted: %+v", tr)
			}
		})
	}
}

// unchecked seals what SealManifest would refuse.
func unchecked(t *testing.T, m *Manifest, by ...byte) Envelope {
	t.Helper()
	e, err := seal(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range by {
		e.SignManifest(signer(n))
	}
	return *e
}

func huge() *Manifest {
	m := manifest("v3", 8)
	m.Artifacts[0].Size = ArtifactBytesMax + 1
	return m
}

func many(n int) []byte {
	var of []byte
	for k := range n {
		of = append(of, byte(k+1))
	}
	return of
}

// A stolen key can drive the sequence up to its end ("fast forward"), so that no
// true release is ever newer. A change of keys ends that, and lets the thief out.
func TestNewKeysEndAFastForward(t *testing.T) {
	tr := Trust{Keys: set(1, 1, 1)}
	tr, _, err := tr.Follow(offer(t, released(t, manifest("evil", 1<<64-1), 1)), now)
	if err != nil || tr.Sequence != 1<<64-1 {
		t.Fatal(tr, err)
	}
	if _, _, err := tr.Follow(offer(t, released(t, manifest("v3", 8), 1)), now); err == nil {
		t.Fatal("a smaller sequence was taken under the same keys")
	}
	k2, k3 := changed(t, set(2, 1, 2), 1, 2), changed(t, set(3, 1, 3), 2, 3)
	// A shop that slept through both changes follows them in one step.
	tr, m, err := tr.Follow(offer(t, released(t, manifest("v3", 8), 3), k2, k3), now)
	if err != nil || m.Version != "v3" || tr.Keys.Version != 3 {
		t.Fatalf("%+v %v", tr, err)
	}
	for n := byte(1); n < 3; n++ {
		if _, _, err := tr.Follow(offer(t, released(t, manifest("evil", 9), n), k2, k3), now); err == nil {
			t.Errorf("old key %d still signs", n)
		}
	}
	// The change counts though the release behind it is refused.
	fresh, m, err := Trust{Keys: set(1, 1, 1)}.Follow(offer(t, released(t, manifest("evil", 9), 1), k2), now)
	if err == nil || m != nil || fresh.Keys.Version != 2 {
		t.Errorf("%+v %v", fresh, err)
	}
}

func TestKeysCheck(t *testing.T) {
	good := set(1, 1, 1, 2)
	for name, c := range map[string]struct {
		keys Keys
		want string
	}{
		"good":           {good, ""},
		"none":           {Keys{Threshold: 1}, "0 keys"},
		"threshold 0":    {Keys{Public: good.Public}, "threshold is 0"},
		"threshold high": {Keys{Public: good.Public, Threshold: 3}, "threshold is 3"},
		"no key":         {Keys{Public: []string{"abc"}, Threshold: 1}, "not the base64"},
		"twice":          {set(1, 2, 1, 1), "stands twice"},
		"many":           {set(1, 1, many(9)...), "9 keys"},
	} {
		err := c.keys.Check()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestSealChecks(t *testing.T) {
	for want, spoil := range map[string]func(m *Manifest){
		"not known":      func(m *Manifest) { m.V = 2 },
		"version is":     func(m *Manifest) { m.Version = "v 1" },
		"sequence is 0":  func(m *Manifest) { m.Sequence = 0 },
		"expires_at":     func(m *Manifest) { m.ExpiresAt = m.IssuedAt },
		"0 artifacts":    func(m *Manifest) { m.Artifacts = nil },
		"64 lower-case":  func(m *Manifest) { m.Artifacts[0].SHA256 = strings.Repeat("AB", 32) },
		"size is 0":      func(m *Manifest) { m.Artifacts[0].Size = 0 },
		"stands twice":   func(m *Manifest) { m.Artifacts = append(m.Artifacts, m.Artifacts[0]) },
		"product is \"x": func(m *Manifest) { m.Product = "x" },
	} {
		m := manifest("v1", 1)
		spoil(m)
		if _, err := SealManifest(m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	if _, err := manifest("v1", 1).Artifact("plan9", "mips"); err == nil {
		t.Error("a platform that is not there was found")
	}
}

// Nothing that a mirror sends makes a shop trust more, or panic.
func FuzzFollow(f *testing.F) {
	f.Add(offer(f, released(f, manifest("v3", 8), 1, 2)))
	f.Add(offer(f, released(f, manifest("v3", 8), 8), changed(f, set(2, 1, 8), 1, 2, 8)))
	f.Fuzz(func(t *testing.T, b []byte) {
		was := Trust{Keys: set(1, 2, 11, 12)} // whose private halves signed none of the seeds
		got, m, err := was.Follow(b, now)
		if err == nil || m != nil || fmt.Sprint(got) != fmt.Sprint(was) {
			t.Fatalf("%+v %v", got, m)
		}
	})
}
