package experiment

import (
	"cmp"
	"fmt"
	"slices"

	"tillwire/aggregator/merge"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// memory is a log in memory: what the ledger does, without the disk.
type memory struct {
	entries []ledger.Entry
	ids     map[protocol.EventID]int
}

func (m *memory) Read(p ledger.Position) (ledger.Entry, error) {
	if p == 0 || int(p) > len(m.entries) {
		return ledger.Entry{}, ledger.ErrNotFound
	}
	return m.entries[p-1], nil
}

func (m *memory) Find(id protocol.EventID) (ledger.Position, [8]byte, bool, error) {
	if i, ok := m.ids[id]; ok {
		return m.entries[i].Position, m.entries[i].Content, true, nil
	}
	return 0, [8]byte{}, false, nil
}

// posting is one document on its way into a journal.
type posting struct {
	at    int64 // true time at which the agent has it
	heard int64 // … and at which the cloud hears of it
	agent int
	ev    protocol.Event
}

// arrival is a record on its way into the merge.
type arrival struct {
	at     int64
	origin protocol.Origin
	seq    uint64
	record []byte
}

// agentClocks are what the store's machines are off by: the server follows the
// network's time, tills their own.
func (d *day) agentClock(agent int, perTill bool) int64 {
	if !perTill || agent >= len(d.skew) {
		return 0
	}
	return d.skew[agent]
}

// merge writes the day into journals as agents do, merges them as they arrive, and
// reads the positions and which of them clocks decided.
func (d *day) merge(perTill bool) (onHand []int64, told []reading, err error) {
	store := protocol.StoreID(fmt.Sprintf("S%04d", d.no))
	log := &memory{ids: map[protocol.EventID]int{}}
	eng := merge.New(log)
	list := d.postings(store, perTill)
	var coming []arrival
	type journal struct {
		origin protocol.Origin
		times  []int64 // record times on the agent's clock
	}
	agents := 1
	if perTill {
		agents = d.o.Registers
	}
	journals := make([]journal, agents)
	for n := range journals {
		journals[n].origin = protocol.Origin{Store: store, Agent: protocol.AgentID(fmt.Sprintf("till-%d", n+1))}
	}
	cutAt := func(n int, us int64) uint64 {
		i, _ := slices.BinarySearch(journals[n].times, us+1)
		return uint64(i)
	}
	for k := range list {
		p := &list[k]
		j := &journals[p.agent]
		us := p.at + d.agentClock(p.agent, perTill)
		if n := len(j.times); n > 0 {
			us = max(us, j.times[n-1]+1)
		}
		if p.ev.Kind == protocol.KindCount {
			for n := range p.ev.Lines {
				l := &p.ev.Lines[n]
				l.Cut = cutAt(p.agent, l.CountedAt.US)
				for o := 1; o < agents && perTill; o++ { // those that the store's LAN reaches then
					if w := d.dark[o]; p.at < w[0] || p.at >= w[1] {
						trueAt := l.CountedAt.US - d.agentClock(p.agent, perTill)
						l.Cuts = append(l.Cuts, protocol.SiblingCut{Agent: journals[o].origin.Agent, Epoch: 1, Seq: cutAt(o, trueAt+d.agentClock(o, perTill))})
					}
				}
			}
		}
		j.times = append(j.times, us)
		coming = append(coming, arrival{p.heard, j.origin, uint64(len(j.times)), protocol.AppendRecord(nil, us, &p.ev)})
	}
	slices.SortStableFunc(coming, func(a, b arrival) int { return cmp.Compare(a.at, b.at) })
	for k := range coming {
		x := &coming[k]
		if _, err := eng.Apply(merge.Input{Origin: eng.Origin(x.origin), Epoch: 1, Seq: x.seq, MergedUS: x.at + second, Record: x.record}); err != nil {
			return nil, nil, err
		}
		if k%500 == 499 || k == len(coming)-1 {
			commit(eng, log)
		}
	}
	return d.read(eng, log, store)
}

func commit(eng *merge.Engine, log *memory) {
	var b ledger.Batch
	eng.TakeStaged(&b)
	for _, en := range b.Entries {
		if en.Ref == 0 {
			log.ids[en.EventID] = len(log.entries)
		}
		log.entries = append(log.entries, en)
	}
	eng.Committed()
}

// read compares with the shelf. Explanations are asked for what is wrong, and for
// one article in ten besides.
func (d *day) read(eng *merge.Engine, log *memory, store protocol.StoreID) ([]int64, []reading, error) {
	onHand, told := make([]int64, d.o.SKUs), make([]reading, d.o.SKUs)
	for i := range onHand {
		id, ok := eng.Lookup(store, article(i))
		if !ok {
			return nil, nil, fmt.Errorf("%s was never heard of", article(i))
		}
		onHand[i] = int64(eng.Cell(id).OnHand) / 1000
		if i%10 != 0 && onHand[i] == d.truth[i] {
			continue
		}
		told[i].asked = true
		x, err := merge.Explain(eng.View(id), log.Read, merge.Question{Limit: 10_000})
		if err != nil {
			return nil, nil, err
		}
		for _, l := range x.Lines {
			told[i].flagged = told[i].flagged || slices.Contains(l.Flags, "by_event_time")
		}
	}
	return onHand, told, nil
}

// reading is what an explanation says of how sure it is.
type reading struct{ asked, flagged bool }

// postings are the day's documents in the order in which agents get them. A
// register's late documents carry what its agent learnt of the register's clock
// from those before.
func (d *day) postings(store protocol.StoreID, perTill bool) []posting {
	agent := func(register int) int {
		if perTill {
			return register
		}
		return 0
	}
	var list []posting
	stock := protocol.Event{Kind: protocol.KindReceipt, Store: store, DocumentID: "stock", EventTime: protocol.Stamp{US: dayStart - hour}}
	count := protocol.Event{Kind: protocol.KindCount, Store: store, DocumentID: "count", Scope: protocol.ScopeSKU, EventTime: protocol.Stamp{US: d.counted + d.agentClock(0, perTill)}}
	for i := range d.count {
		stock.Lines = append(stock.Lines, protocol.Line{Line: i + 1, SKU: article(i), Quantity: protocol.Units(d.initial[i])})
		count.Lines = append(count.Lines, protocol.Line{Line: i + 1, SKU: article(i), Quantity: protocol.Units(d.count[i].qty), CountedAt: protocol.Stamp{US: d.count[i].at + d.agentClock(0, perTill)}})
	}
	list = append(list, posting{dayStart - hour, d.arrives(dayStart - hour), 0, stock}, posting{d.counted, d.arrives(d.counted), 0, count})
	agents := 1
	if perTill {
		agents = d.o.Registers
	}
	for n := range agents { // the link has told each agent how its clock stands
		list = append(list, posting{dayStart - 2*hour, d.arrives(dayStart - 2*hour), n, protocol.Event{
			Kind: protocol.KindClock, Store: store, DocumentID: fmt.Sprintf("clock-%d", n), EventTime: protocol.Stamp{US: dayStart - 2*hour + d.agentClock(n, perTill)},
			ClockOffsetUS: -d.agentClock(n, perTill), ClockErrorUS: 50_000,
		}})
	}
	for i := 0; i < len(d.sales); i += linesPerBasket {
		s := d.sales[i]
		ev := protocol.Event{Kind: protocol.KindSale, Store: store, DocumentID: fmt.Sprintf("R%d-%d", s.register, s.doc), Register: fmt.Sprint(s.register), EventTime: protocol.Stamp{US: s.told}}
		for n, x := range d.sales[i : i+linesPerBasket] {
			ev.Lines = append(ev.Lines, protocol.Line{Line: n + 1, SKU: article(x.sku), Quantity: protocol.Units(1)})
		}
		if late := s.posted - s.told; !perTill && (late > protocol.LateToleranceUS || -late > protocol.LateToleranceUS) {
			// What looks late or early is told with the register's clock, as its documents before have shown it.
			ev.ClockOffsetUS, ev.ClockErrorUS = -d.skew[s.register], second
		}
		if perTill { // the till is its agent: it journals at once, and is heard of late
			list = append(list, posting{s.at, d.arrives(s.posted), agent(s.register), ev})
		} else {
			list = append(list, posting{s.posted, d.arrives(s.posted), 0, ev})
		}
	}
	slices.SortStableFunc(list, func(a, b posting) int { return cmp.Compare(a.at, b.at) })
	for n := range list {
		ev := &list[n].ev
		ev.ID = protocol.MakeEventID(ev.Store, ev.Kind, ev.DocumentID)
	}
	return list
}
