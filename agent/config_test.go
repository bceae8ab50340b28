package agent_test

import (
	"testing"

	"tillwire/agent"
)

// What other machines reach demands tokens.
func TestWhereTheAgentMayListen(t *testing.T) {
	c := agent.Defaults()
	c.Store = "S1"
	for addr, ok := range map[string]bool{
		"127.0.0.1:0": true, "[::1]:7410": true, "localhost:1": true, "0.0.0.0:7410": false, ":7410": false, "192.0.2.1:1": false, "x": false,
	} {
		c.HTTP.Listen, c.HTTP.Tokens = addr, nil
		if err := c.Check(); (err == nil) != ok {
			t.Errorf("%s without tokens: %v", addr, err)
		}
	}
	c.HTTP.Listen, c.HTTP.Tokens = "0.0.0.0:7410", []string{"t"}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
}
