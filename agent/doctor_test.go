package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// found is what the doctor says of one thing.
func found(r *DoctorReport, what string) CheckItem {
	for _, i := range r.Items {
		if i.What == what {
			return i
		}
	}
	return CheckItem{}
}

func says(t *testing.T, r *DoctorReport, what, result, detail, remedy string) {
	t.Helper()
	i := found(r, what)
	if i.Result != result || !strings.Contains(i.Detail, detail) || !strings.Contains(i.Remedy, remedy) || (result == CheckOK) != (i.Remedy == "") {
		t.Errorf("%s: %+v, want %s, %q, remedy %q", what, i, result, detail, remedy)
	}
}

// certificate is of an authority that the test makes, good for a time.
func certificate(t *testing.T, notAfter time.Time) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Chain CA"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: notAfter,
		DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// broker accepts and shakes hands, over TLS where it has a certificate.
func broker(t *testing.T, cert *tls.Certificate) (port string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if cert != nil {
					_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS13}).HandshakeContext(t.Context())
				}
			}()
		}
	}()
	_, port, err = net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestDoctorFollowsTheWay(t *testing.T) {
	good, goodCA := certificate(t, time.Now().Add(90*24*time.Hour))
	soon, soonCA := certificate(t, time.Now().Add(24*time.Hour))
	old, oldCA := certificate(t, time.Now().Add(-time.Hour))
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	for name, c := range map[string]struct {
		url, ca                    string
		what, result, detail, mend string
	}{
		"good":          {"mqtts://localhost:" + broker(t, &good), goodCA, "tls", CheckOK, "TLS 1.3, certificate of CN=Chain CA, good for 89 days", ""},
		"runs out":      {"mqtts://localhost:" + broker(t, &soon), soonCA, "tls", CheckWarning, "good for 0 days", "renew"},
		"expired":       {"mqtts://localhost:" + broker(t, &old), oldCA, "tls", CheckFailed, "expired", "clock first"},
		"unknown":       {"mqtts://localhost:" + broker(t, &good), soonCA, "tls", CheckFailed, "authority", "link.ca_file"},
		"other name":    {"mqtts://127.0.0.1:" + broker(t, &good), goodCA, "tls", CheckFailed, "127.0.0.1", "the name that the certificate has"},
		"no TLS there":  {"mqtts://localhost:" + broker(t, nil), goodCA, "tls", CheckFailed, "", "does not speak TLS 1.3"},
		"no authority":  {"mqtts://localhost:" + broker(t, &good), "/none.pem", "tls", CheckFailed, "none.pem", "link.ca_file"},
		"plain, here":   {"mqtt://localhost:" + broker(t, nil), "", "tls", CheckOK, "this machine", ""},
		"nobody":        {"mqtt://" + closed.Addr().String(), "", "way", CheckFailed, "refuses", "link.broker's port"},
		"no such name":  {"mqtts://stock.invalid:8883", "", "name", CheckFailed, "stock.invalid", ""},
		"no broker set": {"", "", "broker", CheckWarning, "none is named", "enroll"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Defaults()
			cfg.Store, cfg.Link.Token, cfg.Link.Broker, cfg.Link.CAFile, cfg.DataDir, cfg.HTTP.Listen = "S1", "secret", c.url, c.ca, t.TempDir(), "127.0.0.1:0"
			r := Doctor(t.Context(), cfg, DoctorHints{})
			if c.what == "name" && runtime.GOOS == "linux" {
				c.mend = "DNS"
			}
			says(t, r, c.what, c.result, c.detail, c.mend)
			if c.result == CheckFailed && !r.Failed() {
				t.Error("nobody has to act")
			}
		})
	}
}

func TestDoctorLooksAround(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg := Defaults()
	cfg.Store, cfg.Link.Broker, cfg.DataDir, cfg.HTTP.Listen = "S1", "mqtt://127.0.0.1:1", t.TempDir(), taken.Addr().String()
	conf := filepath.Join(cfg.DataDir, "agent.toml")
	if err := os.WriteFile(conf, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ms := int64(-301_000)
	r := Doctor(t.Context(), cfg, DoctorHints{ConfigPath: conf, ClockOffsetMS: &ms})
	says(t, r, "enrolment", CheckFailed, "link.token is empty", "tillwire-agent enroll")
	says(t, r, "clock", CheckFailed, "5m1s ahead of the aggregator", "set this machine's clock")
	says(t, r, "port", CheckFailed, "in use", "find who has it")
	if i := found(r, "disk speed"); i.Result == "" || !strings.Contains(i.Detail, "ms to keep a page") {
		t.Errorf("disk speed: %+v", i)
	}
	if left, _ := filepath.Glob(filepath.Join(cfg.DataDir, ".doctor-*")); len(left) > 0 {
		t.Errorf("the probe leaves %v", left)
	}
	for _, c := range []struct {
		ms     int64
		result string
		word   string
	}{{40_000, CheckWarning, "40s behind"}, {900, CheckOK, "900ms behind"}} {
		r := &DoctorReport{}
		r.clock(&c.ms)
		says(t, r, "clock", c.result, c.word, "")
	}
	if runtime.GOOS == "windows" {
		return
	}
	says(t, r, "configuration", CheckOK, "its owner's alone", "")
	says(t, r, "permissions", CheckFailed, "others can read the journal", "chmod 700")
	if err := os.Chmod(cfg.DataDir, 0o700); err != nil { //nolint:gosec // a folder
		t.Fatal(err)
	}
	if err := os.Chmod(conf, 0o644); err != nil {
		t.Fatal(err)
	}
	r = Doctor(t.Context(), cfg, DoctorHints{ConfigPath: conf, User: "tillwire-agent"})
	says(t, r, "configuration", CheckFailed, "others can read the agent's secret", "chmod 600")
	says(t, r, "permissions", CheckWarning, "belongs to", "chown -R tillwire-agent")
}
