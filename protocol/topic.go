package protocol

import "strings"

// TopicPrefix starts every topic: tw/v1/{store}/{agent}/….
const TopicPrefix = "tw/v1/"

// Channel is the part of a topic behind the agent.
type Channel string

// The channels. Up is agent → aggregator, dn the other way.
const (
	UpHello     Channel = "up/hello"
	UpJournal   Channel = "up/journal"   // + /{node}
	UpHeartbeat Channel = "up/heartbeat" // + /{node}
	UpDigest    Channel = "up/digest"    // + /{node}
	UpWill      Channel = "up/will"
	DnWelcome   Channel = "dn/welcome"
	DnAck       Channel = "dn/ack"
	DnHolds     Channel = "dn/holds" // desired state of the store's tasks
	DnDesired   Channel = "dn/desired"
	DnCommand   Channel = "dn/command"
	UpBundle    Channel = "up/bundle" // parts of a support bundle
	UpRenew     Channel = "up/renew"  // of the agent's certificate
	DnRenewed   Channel = "dn/renewed"
)

// noded tells the channels that end with the name of the node that owns the
// session.
func (ch Channel) noded() bool { return ch == UpJournal || ch == UpHeartbeat || ch == UpDigest }

// Topic composes the topic of a channel. node is used by the journal, heartbeat
// and digest channels only; "" there means node 0.
func Topic(o Origin, ch Channel, node string) string {
	t := TopicPrefix + string(o.Store) + "/" + string(o.Agent) + "/" + string(ch)
	if ch.noded() {
		if node == "" {
			node = "0"
		}
		t += "/" + node
	}
	return t
}

// ParseTopic takes a topic apart; ok is false where it is not one of ours.
func ParseTopic(topic string) (o Origin, ch Channel, node string, ok bool) {
	rest, found := strings.CutPrefix(topic, TopicPrefix)
	if !found {
		return o, "", "", false
	}
	p := strings.Split(rest, "/")
	if len(p) < 4 || CheckName(p[0]) != nil || CheckName(p[1]) != nil {
		return o, "", "", false
	}
	o = Origin{Store: StoreID(p[0]), Agent: AgentID(p[1])}
	ch = Channel(p[2] + "/" + p[3])
	switch ch {
	case UpJournal, UpHeartbeat, UpDigest:
		if len(p) != 5 || CheckName(p[4]) != nil {
			return o, "", "", false
		}
		return o, ch, p[4], true
	case UpHello, UpWill, UpBundle, UpRenew, DnWelcome, DnAck, DnHolds, DnDesired, DnCommand, DnRenewed:
		return o, ch, "", len(p) == 4
	}
	return o, "", "", false
}
