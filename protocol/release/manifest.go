package release

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Product is the only program that updates itself.
const Product = "tillwire-agent"

// Bounds of what is read before anything is trusted.
const (
	OfferBytesMax    = 512 << 10
	ArtifactBytesMax = 64 << 20
	artifactsMax     = 32
	keysMax          = 8
	changesMax       = 64 // of keys in one offer
	signaturesMax    = 2 * keysMax
	wordBytesMax     = 64
)

// These stand before the signed bytes, so that a signature made for one thing is
// none for another.
const (
	manifestContext = "tillwire release manifest 1\n"
	keysContext     = "tillwire release keys 1\n"
)

// Manifest says what the newest release is. It is signed as the very bytes that
// stand in the envelope; nothing is encoded anew.
type Manifest struct {
	V         int        `json:"v"` // 1
	Product   string     `json:"product"`
	Version   string     `json:"version"`
	Sequence  uint64     `json:"sequence"` // rises with every release, and with every new signature of one
	IssuedAt  time.Time  `json:"issued_at"`
	ExpiresAt time.Time  `json:"expires_at"` // behind it no shop begins this update; signing anew, with the next sequence, extends it
	Artifacts []Artifact `json:"artifacts"`
}

// Artifact is one platform's program.
type Artifact struct {
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // lower-case hex
}

// Keys are whose signatures count, and how many of them it takes. A set takes the
// place of the one before when enough keys of that one signed it, and enough of its
// own: a set that nobody can sign with would shut every shop out for good.
type Keys struct {
	Version   uint64   `json:"version"` // rises by one with each set
	Threshold int      `json:"threshold"`
	Public    []string `json:"public"` // base64 of Ed25519 keys
}

// Offer is what is served: every change of keys since the first set, oldest first,
// and the newest release. A shop that slept through some changes follows them all.
type Offer struct {
	Keys    []Envelope `json:"keys,omitempty"`
	Release Envelope   `json:"release"`
}

// Envelope is a Manifest or Keys, and who signed it.
type Envelope struct {
	Signed     []byte      `json:"signed"` // JSON, verified as it stands
	Signatures []Signature `json:"signatures"`
}

// Signature is one key's.
type Signature struct {
	Key string `json:"key"` // base64 of the public key
	Sig []byte `json:"sig"`
}

// Artifact finds a platform's program.
func (m *Manifest) Artifact(goos, arch string) (Artifact, error) {
	for _, a := range m.Artifacts {
		if a.OS == goos && a.Arch == arch {
			return a, nil
		}
	}
	return Artifact{}, fmt.Errorf("release %s has no program for %s/%s", m.Version, goos, arch)
}

// Check names the first thing that is wrong with a set of keys.
func (k *Keys) Check() error {
	if len(k.Public) == 0 || len(k.Public) > keysMax {
		return fmt.Errorf("%d keys, must be 1 to %d", len(k.Public), keysMax)
	}
	if k.Threshold < 1 || k.Threshold > len(k.Public) {
		return fmt.Errorf("threshold is %d, must be 1 to the number of keys, %d", k.Threshold, len(k.Public))
	}
	for i, p := range k.Public {
		if _, err := publicKey(p); err != nil {
			return err
		}
		if slices.Contains(k.Public[:i], p) { // or one signer could count twice
			return fmt.Errorf("key %s stands twice", p)
		}
	}
	return nil
}

func publicKey(s string) (ed25519.PublicKey, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("key %.64q is not the base64 of an Ed25519 public key", s)
	}
	return b, nil
}

// signedBy counts the keys of a set whose signature is right.
func (e *Envelope) signedBy(k *Keys, context string) int {
	n := 0
	for _, p := range k.Public {
		key, err := publicKey(p)
		if err != nil {
			continue
		}
		if slices.ContainsFunc(e.Signatures, func(s Signature) bool {
			return s.Key == p && ed25519.Verify(key, append([]byte(context), e.Signed...), s.Sig)
		}) {
			n++
		}
	}
	return n
}

// open returns the manifest of an envelope that enough of the trusted keys signed.
func (e *Envelope) open(trusted *Keys) (*Manifest, error) {
	if n := e.signedBy(trusted, manifestContext); n < trusted.Threshold {
		return nil, fmt.Errorf("release is signed by %d of the trusted keys, it takes %d", n, trusted.Threshold)
	}
	var m Manifest
	if err := strict(e.Signed, &m); err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return &m, nil
}

// succeed returns the set that takes a trusted one's place, or the trusted one
// where the envelope holds an earlier step.
func (e *Envelope) succeed(trusted *Keys) (*Keys, error) {
	var k Keys
	if err := strict(e.Signed, &k); err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	if k.Version <= trusted.Version {
		return trusted, nil
	}
	if k.Version != trusted.Version+1 {
		return nil, fmt.Errorf("keys of version %d cannot follow those of version %d", k.Version, trusted.Version)
	}
	if n := e.signedBy(trusted, keysContext); n < trusted.Threshold {
		return nil, fmt.Errorf("keys of version %d are signed by %d of the trusted keys, it takes %d", k.Version, n, trusted.Threshold)
	}
	if err := k.Check(); err != nil {
		return nil, fmt.Errorf("keys of version %d: %w", k.Version, err)
	}
	if n := e.signedBy(&k, keysContext); n < k.Threshold {
		return nil, fmt.Errorf("keys of version %d are signed by %d of themselves, it takes %d", k.Version, n, k.Threshold)
	}
	return &k, nil
}

// check holds a manifest to its own rules. Its signers are trusted; this keeps
// their mistakes out of the shops.
func (m *Manifest) check() error {
	switch {
	case m.V != 1:
		return fmt.Errorf("version %d of the format is not known", m.V)
	case m.Product != Product:
		return fmt.Errorf("product is %.64q, must be %q", m.Product, Product)
	case m.Version == "" || len(m.Version) > wordBytesMax || strings.ContainsFunc(m.Version, func(r rune) bool { return r <= ' ' || r > '~' }):
		return fmt.Errorf("version is %.80q, must be 1 to %d printable characters", m.Version, wordBytesMax)
	case m.Sequence == 0:
		return fmt.Errorf("sequence is 0, the first is 1")
	case m.ExpiresAt.IsZero() || !m.ExpiresAt.After(m.IssuedAt):
		return fmt.Errorf("expires_at must lie behind issued_at")
	case len(m.Artifacts) == 0 || len(m.Artifacts) > artifactsMax:
		return fmt.Errorf("%d artifacts, must be 1 to %d", len(m.Artifacts), artifactsMax)
	}
	for i, a := range m.Artifacts {
		if sum, err := hex.DecodeString(a.SHA256); err != nil || len(sum) != sha256.Size || a.SHA256 != strings.ToLower(a.SHA256) {
			return fmt.Errorf("artifact %d: sha256 is not 64 lower-case hexadecimal digits", i)
		}
		if a.Size < 1 || a.Size > ArtifactBytesMax {
			return fmt.Errorf("artifact %d: size is %d, must be 1 to %d", i, a.Size, ArtifactBytesMax)
		}
		if slices.ContainsFunc(m.Artifacts[:i], func(b Artifact) bool { return a.OS == b.OS && a.Arch == b.Arch }) {
			return fmt.Errorf("artifact %d: %s/%s stands twice", i, a.OS, a.Arch)
		}
	}
	return nil
}

// SealManifest writes a manifest into an envelope that nobody signed yet.
func SealManifest(m *Manifest) (*Envelope, error) {
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return seal(m)
}

// SealKeys writes a set of keys into an envelope that nobody signed yet.
func SealKeys(k *Keys) (*Envelope, error) {
	if err := k.Check(); err != nil {
		return nil, err
	}
	return seal(k)
}

func seal(v any) (*Envelope, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write envelope: %w", err)
	}
	return &Envelope{Signed: b}, nil
}

// SignManifest and SignKeys add a signature; one of the same key is replaced.
func (e *Envelope) SignManifest(key ed25519.PrivateKey) { e.sign(key, manifestContext) }

// SignKeys signs a change of keys.
func (e *Envelope) SignKeys(key ed25519.PrivateKey) { e.sign(key, keysContext) }

func (e *Envelope) sign(key ed25519.PrivateKey, context string) {
	name := PublicName(key)
	e.Signatures = slices.DeleteFunc(e.Signatures, func(s Signature) bool { return s.Key == name })
	e.Signatures = append(e.Signatures, Signature{Key: name, Sig: ed25519.Sign(key, append([]byte(context), e.Signed...))})
}

// PublicName is how a key's public half is written.
func PublicName(key ed25519.PrivateKey) string {
	public, _ := key.Public().(ed25519.PublicKey) // of an ed25519 key it always is one
	return base64.StdEncoding.EncodeToString(public)
}

// strict reads one JSON value and refuses what it does not know: a field that is
// not understood might have been a condition.
func strict(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return fmt.Errorf("more than one value")
	}
	return nil
}
