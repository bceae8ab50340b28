package webhook

import (
	"net/http"
	"strconv"
	"testing"
	"time"
)

// The vector is the one that the libraries of Standard Webhooks test themselves with.
func TestSignIsStandard(t *testing.T) {
	secret, err := DecodeSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := Sign([][]byte{secret}, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestVerify(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	old, fresh, other := make([]byte, 32), []byte("0123456789abcdef0123456789abcdef"), []byte("another secret, of nobody we know")
	body := []byte(`{"a":1}`)
	signed := func(at time.Time, secrets ...[]byte) http.Header {
		h := http.Header{}
		h.Set(HeaderID, "m1")
		h.Set(HeaderTimestamp, strconv.FormatInt(at.Unix(), 10))
		h.Set(HeaderSignature, Sign(secrets, "m1", at, body))
		return h
	}
	without := func(name string) http.Header {
		h := signed(now, fresh)
		h.Del(name)
		return h
	}
	for name, c := range map[string]struct {
		h    http.Header
		body string
		ok   bool
	}{
		"new secret":    {signed(now, fresh), `{"a":1}`, true},
		"old secret":    {signed(now, old), `{"a":1}`, true},
		"both":          {signed(now, other, old), `{"a":1}`, true},
		"another":       {signed(now, other), `{"a":1}`, false},
		"another body":  {signed(now, fresh), `{"a":2}`, false},
		"too old":       {signed(now.Add(-6*time.Minute), fresh), `{"a":1}`, false},
		"of the future": {signed(now.Add(6*time.Minute), fresh), `{"a":1}`, false},
		"no id":         {without(HeaderID), `{"a":1}`, false},
		"no time":       {without(HeaderTimestamp), `{"a":1}`, false},
		"no signature":  {without(HeaderSignature), `{"a":1}`, false},
	} {
		if err := Verify([][]byte{fresh, old}, c.h, []byte(c.body), now, 5*time.Minute); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s := EncodeSecret(fresh); len(s) < 40 {
		t.Errorf("secret %q", s)
	} else if b, err := DecodeSecret(s); err != nil || string(b) != string(fresh) {
		t.Errorf("%s: %v", s, err)
	}
	if _, err := DecodeSecret("whsec_short"); err == nil {
		t.Error("a short secret is accepted")
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("m1", "1700000000", "v1,xx v1,", []byte("{}"))
	f.Fuzz(func(t *testing.T, id, at, sig string, body []byte) {
		h := http.Header{HeaderID: {id}, HeaderTimestamp: {at}, HeaderSignature: {sig}}
		if Verify([][]byte{[]byte("0123456789abcdef0123456789abcdef")}, h, body, time.Unix(1_700_000_000, 0), time.Minute) == nil {
			t.Error("believed without the secret")
		}
	})
}
