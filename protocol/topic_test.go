package protocol

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var channels = []Channel{UpHello, UpJournal, UpHeartbeat, UpDigest, UpWill, UpBundle, UpRenew, DnWelcome, DnAck, DnHolds, DnDesired, DnCommand, DnRenewed}

func TestTopic(t *testing.T) {
	o := Origin{Store: "S0042", Agent: "till-03"}
	for _, c := range []struct {
		ch   Channel
		node string
		want string
	}{
		{UpHello, "", "tw/v1/S0042/till-03/up/hello"},
		{UpJournal, "", "tw/v1/S0042/till-03/up/journal/0"},
		{UpJournal, "eu-1", "tw/v1/S0042/till-03/up/journal/eu-1"},
		{UpHeartbeat, "", "tw/v1/S0042/till-03/up/heartbeat/0"},
		{UpDigest, "eu-1", "tw/v1/S0042/till-03/up/digest/eu-1"},
		{UpWill, "", "tw/v1/S0042/till-03/up/will"},
		{DnWelcome, "eu-1", "tw/v1/S0042/till-03/dn/welcome"}, // no node but on those that carry one
		{DnAck, "", "tw/v1/S0042/till-03/dn/ack"},
		{DnHolds, "eu-1", "tw/v1/S0042/till-03/dn/holds"},
	} {
		if got := Topic(o, c.ch, c.node); got != c.want {
			t.Errorf("%s at node %q: got %s, want %s", c.ch, c.node, got, c.want)
		}
	}
}

func TestTopicRoundTrip(t *testing.T) {
	name := rapid.StringMatching(`[A-Za-z0-9-]{1,64}`)
	rapid.Check(t, func(t *rapid.T) {
		o := Origin{StoreID(name.Draw(t, "store")), AgentID(name.Draw(t, "agent"))}
		ch, node := rapid.SampledFrom(channels).Draw(t, "channel"), name.Draw(t, "node")
		got, gotCh, gotNode, ok := ParseTopic(Topic(o, ch, node))
		if !ch.noded() {
			node = ""
		}
		if !ok || got != o || gotCh != ch || gotNode != node {
			t.Fatalf("%v %s %s %v", got, gotCh, gotNode, ok)
		}
	})
}

func TestForeignTopics(t *testing.T) {
	for _, s := range []string{
		"", "tw/v1/", "tw/v1/S/a", "tw/v1/S/a/up", "tw/v1/S/a/up/", "tw/v1/S/a/up/hello/", "tw/v1/S/a/up/hello/0", "/tw/v1/S/a/up/hello",
		"tw/v2/S/a/up/hello", "TW/v1/S/a/up/hello", "tw/v1/S/a/dn/hello", "tw/v1/S/a/up/ack", "tw/v1/S/a/up/journal", "tw/v1/S/a/up/journal/",
		"tw/v1/S/a/up/journal/0/1", "tw/v1/S/a/up/journal/+", "tw/v1/+/a/up/hello", "tw/v1/S/#", "tw/v1/S/a/#", "tw/v1/S/a/dn/#",
		"tw/v1//a/up/hello", "tw/v1/S//up/hello", "tw/v1/S/feed:wms/up/hello", "tw/v1/Sä/a/up/hello", "tw/v1/S S/a/up/hello",
		"tw/v1/S\x00/a/up/hello", "tw/v1/../a/up/hello", "$SYS/broker/clients", "tw/v1/S/a/up/hello\n",
		"tw/v1/" + strings.Repeat("x", 65) + "/a/up/hello", "tw/v1/S/a/up/journal/" + strings.Repeat("x", 65), strings.Repeat("tw/v1/", 10_000),
	} {
		if o, ch, node, ok := ParseTopic(s); ok {
			t.Errorf("%q is taken for %s %s %s", s, o, ch, node)
		}
	}
}

func TestOrigin(t *testing.T) {
	if s := (Origin{"S1", "server"}).String(); s != "S1/server" {
		t.Error(s)
	}
	feed := Origin{"DC1", FeedAgentPrefix + "wms"}
	if !feed.IsFeed() || (Origin{"DC1", "feed-wms"}).IsFeed() {
		t.Error("feeds are told by their prefix")
	}
	if CheckName(string(feed.Agent)) == nil {
		t.Error("an agent may call itself a feed")
	}
}

// FuzzParseTopic: what is taken for ours is exactly what Topic writes, and its
// parts hold nothing that means something to a broker or a file system.
func FuzzParseTopic(f *testing.F) {
	for _, ch := range channels {
		f.Add(Topic(Origin{"S0042", "till-03"}, ch, "0"))
	}
	f.Add("tw/v1/S/a/up/journal/+")
	f.Fuzz(func(t *testing.T, s string) {
		o, ch, node, ok := ParseTopic(s)
		if !ok {
			if o != (Origin{}) && ch != "" && Topic(o, ch, node) == s {
				t.Fatalf("%q is ours, but refused", s)
			}
			return
		}
		if Topic(o, ch, node) != s {
			t.Fatalf("%q is read as %q", s, Topic(o, ch, node))
		}
		for _, part := range []string{string(o.Store), string(o.Agent), node} {
			if strings.ContainsAny(part, "/+#$.:\x00 ") {
				t.Fatalf("%q yields %q", s, part)
			}
		}
	})
}
