//go:build dist

package packagetest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAnsibleLint(t *testing.T) {
	needs(t, "ansible-playbook", "ansible-lint")
	dir := filepath.Join(root(t), "installers", "ansible")
	must(t, dir, nil, "ansible-playbook", "--syntax-check", "-i", "stores.ini", "site.yml")
	must(t, dir, nil, "ansible-lint", "--offline", "--strict", "site.yml")
}

// The role installs, enrols and starts a host; run again it changes nothing; with
// another package it upgrades.
func TestAnsibleRole(t *testing.T) {
	old, newer := release(t, "1.0.0", here), release(t, "1.1.0", here)
	d := bootDebian(t)
	d.do(t, "dpkg", "-i", d.bring(t, one(t, old, "tillwire-aggregator_*.deb")))
	d.bring(t, filepath.Join(root(t), "installers", "ansible"))
	oldDeb, newDeb := d.bring(t, one(t, old, "tillwire-agent_*.deb")), d.bring(t, one(t, newer, "tillwire-agent_*.deb"))
	inventory := `[stores]
localhost ansible_connection=local ansible_python_interpreter=/usr/bin/python3 tillwire_agent_store=S0042
[stores:vars]
tillwire_agent_aggregator=http://127.0.0.1:7400
tillwire_agent_token_command="runuser -u tillwire-aggregator -- tillwire-aggregator token --enroll --store {{ tillwire_agent_store }}"
tillwire_agent_env={"TILLWIRE_LOG_LEVEL": "debug"}
`
	if err := os.WriteFile(filepath.Join(d.root, "ansible", "here.ini"), []byte(inventory), 0o600); err != nil {
		t.Fatal(err)
	}
	play := func(deb string) string {
		t.Helper()
		return d.do(t, "ansible-playbook", "-i", "/ansible/here.ini", "/ansible/site.yml", "-e", "tillwire_agent_package="+deb, "-e", "ansible_become=false")
	}
	out := play(oldDeb)
	if strings.Contains(out, "twe1.") {
		t.Errorf("the play shows the token:\n%s", out)
	}
	if s := d.status(t); s.Version != "1.0.0" || s.Link.State != "connected" {
		t.Errorf("after the play: %+v", s)
	}
	if !d.sell("by-ansible") {
		t.Error("the agent takes no sale")
	}
	if out := play(oldDeb); !strings.Contains(out, "changed=0") {
		t.Errorf("the second play changes something:\n%s", out)
	}
	play(newDeb)
	if s := d.status(t); s.Version != "1.1.0" || s.Journal.Head == 0 {
		t.Errorf("after the upgrade: %+v", s)
	}
}
