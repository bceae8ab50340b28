package deploy_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// node is a YAML mapping; at walks it.
type node map[string]any

func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(node)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func documents(t *testing.T, file string) []node {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var all []node
	for d := yaml.NewDecoder(f); ; {
		var n node
		if err := d.Decode(&n); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, n)
	}
}

func kind(t *testing.T, all []node, kind string) node {
	t.Helper()
	for _, n := range all {
		if n["kind"] == kind {
			return n
		}
	}
	t.Fatalf("no %s", kind)
	return nil
}

// TestThePodIsConfined holds the pod to what it promises: no root, nothing to
// write but its volumes, probes that the program answers, a configuration that
// it accepts.
func TestThePodIsConfined(t *testing.T) {
	all := documents(t, "kubernetes/tillwire.yaml")
	spec := kind(t, all, "StatefulSet")["spec"]
	pod := at(spec, "template", "spec")
	box := at(pod, "containers", 0)
	for name, got := range map[string]bool{
		"one replica, for there is one writer": at(spec, "replicas") == 1,
		"runAsNonRoot":                         at(pod, "securityContext", "runAsNonRoot") == true,
		"runAsUser as in the image":            at(pod, "securityContext", "runAsUser") == 10001,
		"seccomp":                              at(pod, "securityContext", "seccompProfile", "type") == "RuntimeDefault",
		"no token of the cluster":              at(pod, "automountServiceAccountToken") == false,
		"readOnlyRootFilesystem":               at(box, "securityContext", "readOnlyRootFilesystem") == true,
		"no privilege escalation":              at(box, "securityContext", "allowPrivilegeEscalation") == false,
		"all capabilities dropped":             at(box, "securityContext", "capabilities", "drop", 0) == "ALL",
		"a memory limit":                       at(box, "resources", "limits", "memory") != nil,
	} {
		if !got {
			t.Errorf("the pod lacks: %s", name)
		}
	}
	addr := serve(t, "")
	for _, probe := range []string{"startupProbe", "readinessProbe", "livenessProbe"} {
		path, _ := at(box, probe, "httpGet", "path").(string)
		if resp, err := http.Get("http://" + addr + path); err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusOK || path == "" {
			t.Errorf("%s asks %q: %v", probe, path, err)
		}
	}
	c := accepted(t, at(kind(t, all, "ConfigMap"), "data", "aggregator.toml"))
	for i, key := range []string{"http.listen", "mqtt.listen"} {
		_, port, err := net.SplitHostPort(c[key])
		if err != nil {
			t.Fatal(err)
		}
		if want, _ := at(box, "ports", i, "containerPort").(int); strconv.Itoa(want) != port {
			t.Errorf("port %d is opened, the configuration listens on %s", want, c[key])
		}
	}
	if c["mqtt.tls"] != "own" {
		t.Error("agents are to have certificates")
	}
	mounts := map[string]bool{}
	list, _ := at(box, "volumeMounts").([]any)
	for _, m := range list {
		path, _ := at(m, "mountPath").(string)
		mounts[path] = true
	}
	for _, dir := range []string{c["data_dir"], c["backup.to"], "/tmp"} {
		if !mounts[dir] {
			t.Errorf("nothing is mounted at %s", dir)
		}
	}
}

// accepted has the program read a configuration, and returns what it then works
// with, by key.
func accepted(t *testing.T, text any) map[string]string {
	t.Helper()
	s, _ := text.(string)
	file := filepath.Join(t.TempDir(), "aggregator.toml")
	if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	for _, k := range keysOf(t, "--config", file) {
		keys[k.name] = k.value
	}
	return keys
}

type key struct{ name, env, value string }

// configLine is a line of it: key, variable, quoted value.
var configLine = regexp.MustCompile(`(?m)^([a-z_.]+) +(TILLWIRE_[A-Z_]+) +"([^"]*)"`)

// keysOf reads what `tillwire-aggregator config` lists.
func keysOf(t *testing.T, args ...string) []key {
	t.Helper()
	out, err := exec.Command(program(t), append([]string{"config"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("the program refuses this configuration: %v: %s", err, out)
	}
	var all []key
	for _, m := range configLine.FindAllSubmatch(out, -1) {
		all = append(all, key{string(m[1]), string(m[2]), string(m[3])})
	}
	return all
}

func TestComposeIsConfined(t *testing.T) {
	services := documents(t, "container/compose.yaml")[0]["services"]
	agg := at(services, "aggregator")
	if at(agg, "read_only") != true || at(agg, "cap_drop", 0) != "ALL" || at(agg, "security_opt", 0) != "no-new-privileges:true" {
		t.Error("the aggregator's container is not confined")
	}
	known := map[string]bool{}
	for _, k := range keysOf(t) {
		known[k.env] = true
	}
	env, _ := at(agg, "environment").(node)
	if len(env) < 5 {
		t.Errorf("only %d variables were found", len(env))
	}
	for name := range env {
		if !known[name] {
			t.Errorf("compose.yaml sets %s, which is no key of the configuration", name)
		}
	}
	b, err := os.ReadFile("container/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`TILLWIRE_[A-Z_]+`).FindAllString(string(b), -1) {
		if !known[m] {
			t.Errorf("the image sets %s, which is no key of the configuration", m)
		}
	}
	if !strings.Contains(string(b), "\nUSER 10001:10001\n") || !strings.Contains(string(b), "\nFROM scratch\n") {
		t.Error("the image is not the program alone, under an account of its own")
	}
}

var exposure = regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`)

func TestTheUnitIsHardened(t *testing.T) {
	program := have(t, "systemd-analyze", "systemd")
	out, err := exec.Command(program, "security", "--offline=true", "systemd/tillwire-aggregator.service").CombinedOutput()
	m := exposure.FindSubmatch(out)
	if m == nil {
		t.Fatalf("systemd-analyze tells no exposure (%v): %s", err, out)
	}
	if level, _ := strconv.ParseFloat(string(m[1]), 64); level > 1.2 {
		t.Errorf("exposure %s, must be at most 1.2", m[1])
	}
}
