package credential

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tillwire/protocol"
)

var shop = protocol.Origin{Store: "S0042", Agent: "server"}

func ring(t *testing.T, now *time.Time) (*Keyring, string) {
	t.Helper()
	dir := t.TempDir()
	k, err := Open(dir, func() time.Time { return *now })
	if err != nil {
		t.Fatal(err)
	}
	return k, dir
}

func checkAgent(k *Keyring, o protocol.Origin, token string) error {
	_, err := k.CheckAgent(o, token)
	return err
}

func TestAgentTokenIsGoodForItsAgentOnly(t *testing.T) {
	now := time.Unix(1e9, 0)
	k, dir := ring(t, &now)
	token := k.Agent(shop)
	if _, err := k.CheckAgent(shop, token); err != nil {
		t.Fatalf("own token: %v", err)
	}
	again, err := Open(dir, time.Now)
	if err != nil || checkAgent(again, shop, token) != nil {
		t.Errorf("after a restart: %v", err)
	}
	other, _ := ring(t, &now)
	key, err := k.Key(RoleAdmin, "ann", 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"another store":  checkAgent(k, protocol.Origin{Store: "S0043", Agent: "server"}, token),
		"another agent":  checkAgent(k, protocol.Origin{Store: "S0042", Agent: "till-1"}, token),
		"another chain":  checkAgent(other, shop, token),
		"one letter off": checkAgent(k, shop, "x"+token[1:]),
		"empty":          checkAgent(k, shop, ""),
		"an API key":     checkAgent(k, shop, key),
		"huge":           checkAgent(k, shop, strings.Repeat("a.", 10_000)),
		"cut":            checkAgent(k, shop, token[:len(token)-4]),
	} {
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRevocationIsReadAgain(t *testing.T) {
	now := time.Unix(1e9, 0)
	k, dir := ring(t, &now)
	token := k.Agent(shop)
	key, _ := k.Key(RoleOps, "bob", 0)
	file := filepath.Join(dir, RevokedFile)
	if err := os.WriteFile(file, []byte("# stolen\nS0042/server # laptop\n\nkey/bob\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Second)
	if _, err := k.CheckAgent(shop, token); !errors.Is(err, ErrRevoked) {
		t.Errorf("agent: %v", err)
	}
	if _, _, err := k.CheckKey(key); !errors.Is(err, ErrRevoked) {
		t.Errorf("key: %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Second)
	if _, err := k.CheckAgent(shop, token); err != nil {
		t.Errorf("after the list is gone: %v", err)
	}
}

func TestEnrolmentExpiresAndIsBoundToTheStore(t *testing.T) {
	now := time.Unix(1e9, 0)
	k, _ := ring(t, &now)
	code, until := k.Enrolment("S0042", "", time.Hour)
	nonce, err := k.CheckEnrolment(code, shop)
	if err != nil || nonce == "" || !until.Equal(now.Add(time.Hour)) {
		t.Fatalf("own code: %q %v %v", nonce, until, err)
	}
	if _, err := k.CheckEnrolment(code, protocol.Origin{Store: "S1", Agent: "server"}); !errors.Is(err, ErrInvalid) {
		t.Errorf("another store: %v", err)
	}
	bound, _ := k.Enrolment("S0042", "till-1", time.Hour)
	if _, err := k.CheckEnrolment(bound, shop); !errors.Is(err, ErrInvalid) {
		t.Errorf("another agent: %v", err)
	}
	now = now.Add(61 * time.Minute)
	if _, err := k.CheckEnrolment(code, shop); !errors.Is(err, ErrExpired) {
		t.Errorf("late: %v", err)
	}
}

func TestNamesAndRoles(t *testing.T) {
	now := time.Unix(1e9, 0)
	k, _ := ring(t, &now)
	if _, err := k.Key("king", "ann", 0); err == nil {
		t.Error("an unknown role is issued")
	}
	if _, err := k.Key(RoleOps, "ann smith", 0); err == nil {
		t.Error("a name with a space is issued")
	}
}

func TestRevokeEndsCredentials(t *testing.T) {
	now := time.Unix(1e9, 0)
	k, dir := ring(t, &now)
	agent := k.Agent(shop)
	key, _ := k.Key(RoleOps, "ann", 0)
	for _, name := range []string{shop.String(), "key/ann", "key/ann"} {
		if err := k.Revoke(name, "bob # sneaky\nkey/web"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := k.CheckAgent(shop, agent); !errors.Is(err, ErrRevoked) {
		t.Error("a revoked agent:", err)
	}
	if _, _, err := k.CheckKey(key); !errors.Is(err, ErrRevoked) {
		t.Error("a revoked key:", err)
	}
	for _, bad := range []string{"", "x", "a/b/c", "key/", "/x", "key/a b"} {
		if err := k.Revoke(bad, "bob"); err == nil {
			t.Errorf("%q is revoked", bad)
		}
	}
	other, err := Open(dir, func() time.Time { return now })
	if err != nil || !slices.Equal(other.Revoked(), []string{shop.String(), "key/ann"}) {
		t.Errorf("the list: %q %v", other.Revoked(), err)
	}
}

func TestKeyFile(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	tokens := make([]string, 8)
	for i := range tokens {
		wg.Go(func() {
			k, err := Open(dir, time.Now)
			if err != nil {
				t.Error(err)
				return
			}
			tokens[i] = k.Agent(shop)
		})
	}
	wg.Wait()
	k, err := Open(dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for i, token := range tokens {
		if _, err := k.CheckAgent(shop, token); err != nil {
			t.Errorf("token %d of programs that started at once: %v", i, err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, KeyFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v %v", info, err)
	}
	if err := os.WriteFile(filepath.Join(dir, KeyFile), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, time.Now); err == nil || !strings.Contains(err.Error(), "want 32") {
		t.Errorf("a cut key: %v", err)
	}
}

func TestKeysEndAndCanBeRevoked(t *testing.T) {
	now := time.Unix(1e9, 0)
	k, dir := ring(t, &now)
	old := k.sign(prefixKey, string(RoleChannel), "shop", "gjdgxs") // as it was issued before keys had ends
	first, err1 := k.Key(RoleChannel, "web", 0)
	second, err2 := k.Key(RoleChannel, "web", time.Hour)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Key(RoleOps, "x", -1); err == nil {
		t.Error("a key that ends before it begins")
	}
	for name, token := range map[string]string{"old form": old, "without end": first, "with an end": second} {
		if role, _, err := k.CheckKey(token); err != nil || role != RoleChannel {
			t.Errorf("%s: %v", name, err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(dir, KeysFile)); err != nil || strings.Contains(string(b), first) || strings.Contains(string(b), second[len(second)-20:]) {
		t.Errorf("a key itself is kept: %s %v", b, err)
	}
	list, err := k.Keys()
	if err != nil || len(list) != 2 || list[0].Status != "active" || list[1].ExpiresAt == nil {
		t.Fatalf("list %+v %v", list, err)
	}
	if err := k.RevokeKey(list[0].ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.CheckKey(first); !errors.Is(err, ErrRevoked) {
		t.Errorf("a revoked key: %v", err)
	}
	if _, _, err := k.CheckKey(second); err != nil {
		t.Errorf("its neighbour of the same name: %v", err)
	}
	now = now.Add(61 * time.Minute)
	if _, _, err := k.CheckKey(second); !errors.Is(err, ErrExpired) {
		t.Errorf("behind its end: %v", err)
	}
	if err := k.RevokeKey("shop"); err != nil {
		t.Fatal(err)
	}
	again, err := Open(dir, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := again.CheckKey(old); !errors.Is(err, ErrRevoked) {
		t.Errorf("revoked by name, after a restart: %v", err)
	}
	if list, _ = again.Keys(); list[0].Status != "revoked" || list[1].Status != "expired" {
		t.Errorf("list %+v", list)
	}
	if err := k.RevokeKey("a b"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("no such key: %v", err)
	}
	if _, err := k.Passing(RoleOps, "shell", 2*time.Hour); err == nil {
		t.Error("a passing key for long")
	}
}

func TestEnrolmentCodesNameTheAuthority(t *testing.T) {
	now := time.Unix(1e9, 0)
	k, _ := ring(t, &now)
	k.Pin("the-pin")
	code, _ := k.Enrolment("S0042", "", time.Hour)
	if f := strings.Split(code, "."); f[0] != prefixEnrol2 || f[5] != "the-pin" {
		t.Errorf("code %s", code)
	}
	if nonce, err := k.CheckEnrolment(code, shop); err != nil || len(nonce) < 22 { // 128 bits
		t.Errorf("nonce %q %v", nonce, err)
	}
	if _, err := k.CheckEnrolment(strings.Replace(code, "the-pin", "another", 1), shop); !errors.Is(err, ErrInvalid) {
		t.Errorf("another pin: %v", err)
	}
}
