package channel

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"
)

func TestGuard(t *testing.T) {
	g := Guard{Allow: []netip.Prefix{netip.MustParsePrefix("10.7.0.0/16")}}
	for ip, ok := range map[string]bool{
		"93.184.216.34": true, "2606:2800:220:1:248:1893:25c8:1946": true, "10.7.1.1": true, "::ffff:10.7.1.1": true,
		"127.0.0.1": false, "127.8.9.1": false, "::1": false, "::ffff:127.0.0.1": false, "0.0.0.0": false, "::": false,
		"10.8.0.1": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false, "fe80::1": false,
		"fd00::1": false, "fec0::1": false, "224.0.0.1": false, "255.255.255.255": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false,
		"2001:0:1::1": false, "198.18.0.1": false, "192.0.2.1": false, "240.0.0.1": false,
	} {
		if err := g.Check(netip.MustParseAddr(ip)); (err == nil) != ok {
			t.Errorf("%s: %v", ip, err)
		}
	}
	if err := g.Check(netip.Addr{}); err == nil {
		t.Error("no address is allowed")
	}
}

// The address is judged when the connection is made, whatever name led to it, and a
// redirect leads nowhere.
func TestGuardedClient(t *testing.T) {
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the inner server was reached") }))
	defer inner.Close()
	outer := httptest.NewServer(http.RedirectHandler(inner.URL, http.StatusTemporaryRedirect))
	defer outer.Close()
	closed, open := (&Guard{}).Client(time.Second), (&Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}).Client(time.Second)
	get := func(c *http.Client, url string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		return c.Do(req)
	}
	for _, host := range []string{"127.0.0.1", "localhost"} {
		if _, err := get(closed, "http://"+host+outer.URL[len("http://127.0.0.1"):]); !errors.Is(err, ErrGuarded) {
			t.Errorf("%s: %v", host, err)
		}
	}
	resp, err := get(open, outer.URL)
	if err != nil || resp.StatusCode != http.StatusTemporaryRedirect {
		t.Fatalf("redirect: %v", err)
	}
	_ = resp.Body.Close()
}
