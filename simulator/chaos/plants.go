package chaos

// plant is one edit of a source file. Edits of one name make one bug, and are
// switched on together; old stands exactly once in the file.
type plant struct {
	bug, file, old, new string
}

// plants are the known ways to lose, to double and to get stuck: each is a line
// that somebody could write. Production sources carry none of this: the edits are
// made in copies, which the compiler is told to read instead.
var plants = []plant{
	{
		"ack-before-sync", "simulator/chaos/disk.go",
		"	default:\n		h.write(c, func(err error, noSpace bool) {\n			if err != nil {\n				h.failed(group",
		"	default:\n		if planted(\"ack-before-sync\") {\n			for _, r := range group {\n				h.reply(r, journal.Receipt{}, nil)\n			}\n			group = nil\n		}\n		h.write(c, func(err error, noSpace bool) {\n			if err != nil {\n				h.failed(group",
	},
	{
		"failed-commit-is-durable", "simulator/chaos/disk.go",
		"	h.write(c, func(err error, _ bool) {\n		h.need(h.journal.Reopened(c, err))",
		"	if planted(\"failed-commit-is-durable\") {\n		h.need(h.journal.Reopened(c, nil))\n		return\n	}\n	h.write(c, func(err error, _ bool) {\n		h.need(h.journal.Reopened(c, err))",
	},
	{
		"trim-at-merged", "store/journal/meta_core.go", "	next.Epoch, next.Generation, next.Merged, next.Safe = epoch, generation, merged, min(safe, merged)\n",
		"	next.Epoch, next.Generation, next.Merged, next.Safe = epoch, generation, merged, min(safe, merged)\n	if planted(\"trim-at-merged\") {\n		next.Safe = merged\n	}\n",
	},
	{"journal-knows-no-ids", "store/journal/plan_core.go", "if e, ok := w.find(p.id); ok {", "if e, ok := w.find(p.id); ok && !planted(\"journal-knows-no-ids\") {"},
	{"other-body-is-a-duplicate", "store/journal/plan_core.go", "if first.content != p.content {", "if first.content != p.content && !planted(\"other-body-is-a-duplicate\") {"},
	{"count-cut-at-arrival", "store/journal/plan_core.go", "			l.Cut = cutAt(when.US)", "			if l.Cut = cutAt(when.US); planted(\"count-cut-at-arrival\") {\n				l.Cut = at.seq\n			}"},
	{"damage-is-not-noticed", "store/journal/value_core.go", "	if got != want {\n		return row{}, &CorruptError{\n			What: fmt.Sprintf(\"checksum of record", "	if got != want && !planted(\"damage-is-not-noticed\") {\n		return row{}, &CorruptError{\n			What: fmt.Sprintf(\"checksum of record"},
	{"damage-is-not-noticed", "store/journal/value_core.go", "	case next.chain != r.chain:", "	case next.chain != r.chain && !planted(\"damage-is-not-noticed\"):"},
	{"damage-is-not-noticed", "store/journal/value_core.go", "	case next.total != r.total:", "	case next.total != r.total && !planted(\"damage-is-not-noticed\"):"},

	{"cursor-moves-on-puback", "agent/link/send_core.go", "	s.flights = append(s.flights, flight{in.Last, now})", "	s.flights = append(s.flights, flight{in.Last, now})\n	if planted(\"cursor-moves-on-puback\") {\n		s.merged, s.flights = in.Last, s.flights[:0]\n		s.mark()\n	}"},
	{"frames-never-resent", "agent/link/send_core.go", "	if len(s.flights) > 0 && now >= s.flights[0].sentAt+s.ackUS {", "	if len(s.flights) > 0 && now >= s.flights[0].sentAt+s.ackUS && !planted(\"frames-never-resent\") {"},
	{"credit-is-ignored", "agent/link/send_core.go", "	if s.awaiting || len(s.flights) >= s.credit ||", "	if s.awaiting || len(s.flights) >= s.credit && !planted(\"credit-is-ignored\") ||"},
	{"offered-again-under-the-old-epoch", "agent/link/session_core.go", "	s.merged, s.safe = w.MergedSeq, w.SafeSeq\n", "	if planted(\"offered-again-under-the-old-epoch\") && w.Rebase && in.Journal.Epoch != 0 {\n		s.epoch = in.Journal.Epoch\n	}\n	s.merged, s.safe = w.MergedSeq, w.SafeSeq\n"},
	{"chains-are-not-compared", "agent/link/session_core.go", "	if !in.Known || in.Own != w.ChainMerged {", "	if (!in.Known || in.Own != w.ChainMerged) && !planted(\"chains-are-not-compared\") {"},
	{"chains-are-not-compared", "aggregator/ingest/session_core.go", "	if chain != m.Chain {", "	if chain != m.Chain && !planted(\"chains-are-not-compared\") {"},

	{"gap-is-accepted", "aggregator/ingest/session_core.go", "	case f.FirstSeq > m.Seq+1:\n", "	case f.FirstSeq > m.Seq+1 && planted(\"gap-is-accepted\"):\n		return 0, protocol.NackNone\n	case f.FirstSeq > m.Seq+1:\n"},
	{"epoch-is-used-again", "aggregator/ingest/session_core.go", "	epoch = max(epoch, s.floor+1)\n", "	epoch = max(epoch, s.floor+1)\n	if planted(\"epoch-is-used-again\") && m.Epoch != 0 {\n		epoch = m.Epoch\n	}\n"},
	{"lease-is-used-again", "aggregator/ingest/session_core.go", "	m.Lease = max(m.Lease, h.Lease) + 1\n", "	if m.Lease = max(m.Lease, h.Lease) + 1; planted(\"lease-is-used-again\") {\n		m.Lease = max(h.Lease, 1)\n	}\n"},
	{"new-epoch-offers-nothing-again", "aggregator/ingest/session_core.go", "	m.SafeSeq, m.HeadSeen = m.Seq, h.Head\n", "	if planted(\"new-epoch-offers-nothing-again\") {\n		m.Seq, m.Chain = h.Head, h.ChainHead\n	}\n	m.SafeSeq, m.HeadSeen = m.Seq, h.Head\n"},
	{"fork-begins-at-the-head", "aggregator/ingest/session_core.go", "	return min(h.Tail-1, s.mark.Seq)\n", "	if planted(\"fork-begins-at-the-head\") {\n		return min(h.Head, s.mark.Seq)\n	}\n	return min(h.Tail-1, s.mark.Seq)\n"},
	{"shared-history-is-not-learnt", "aggregator/ingest/session_core.go", "	if last < 0 ||", "	if planted(\"shared-history-is-not-learnt\") || last < 0 ||"},
	{"epoch-0-never-forks", "aggregator/ingest/session_core.go", "m.Seq+1 >= h.Tail && !s.differs(h):\n", "m.Seq+1 >= h.Tail && (!s.differs(h) || planted(\"epoch-0-never-forks\")):\n"},
	{"rollback-is-not-seen", "aggregator/ingest/session_core.go", "	case m.Seq > h.Head:\n", "	case m.Seq > h.Head && !planted(\"rollback-is-not-seen\"):\n"},
	{"merged-counts-as-safe", "aggregator/ingest/session_core.go", "	if !s.backed {\n", "	if !s.backed || planted(\"merged-counts-as-safe\") {\n"},
	{"idle-stores-are-not-told", "aggregator/ingest/session_core.go", "	case !s.live:\n		return protocol.NackNoSession\n	case lease", "	case planted(\"idle-stores-are-not-told\"):\n		return protocol.NackNone\n	case !s.live:\n		return protocol.NackNoSession\n	case lease"},
	{"answer-before-commit", "aggregator/ingest/flight.go", "	i.address(f, batchUS)\n", "	if i.address(f, batchUS); planted(\"answer-before-commit\") {\n		i.post(f.letters)\n	}\n"},
	{"poison-blocks-its-store", "aggregator/ingest/door.go", "		lastUS = max(lastUS, out.RecordUS)\n		if out.Verdict", "		if out.Verdict == merge.Parked && planted(\"poison-blocks-its-store\") {\n			i.nack(s, protocol.NackMalformed)\n			return nil\n		}\n		lastUS = max(lastUS, out.RecordUS)\n		if out.Verdict"},
	{"older-ledger-keeps-its-generation", "aggregator/ingest/safe.go", "	i.generation.Store(g)\n	i.facts = append", "	if planted(\"older-ledger-keeps-its-generation\") {\n		return\n	}\n	i.generation.Store(g)\n	i.facts = append"},

	{"dedupe-by-seq-alone", "aggregator/merge/apply.go", "	case !ok:\n		return Outcome{Verdict: Merged}, nil", "	case !ok || planted(\"dedupe-by-seq-alone\"):\n		return Outcome{Verdict: Merged}, nil"},
	{"void-does-not-wait", "aggregator/merge/apply.go", "		e.pending[id] = en.Position\n", "		if !planted(\"void-does-not-wait\") {\n			e.pending[id] = en.Position\n		}\n"},
	{"void-moves-nothing", "aggregator/merge/effects.go", "		f.OnHand, f.Unavailable, f.Flow = -f.OnHand, -f.Unavailable, -f.Flow\n", "		if f.OnHand, f.Unavailable, f.Flow = -f.OnHand, -f.Unavailable, -f.Flow; planted(\"void-moves-nothing\") {\n			f.OnHand = 0\n		}\n"},
	{"late-documents-are-judged-by-seq", "aggregator/merge/lineage.go", "late: ev.PostedLate(recordUS)", "late: !planted(\"late-documents-are-judged-by-seq\") && ev.PostedLate(recordUS)"},
	{"count-does-not-refold", "aggregator/merge/position.go", "		if !anchored {\n			break\n		}\n", "		if !anchored || planted(\"count-does-not-refold\") {\n			break\n		}\n"},
	{"old-history-stays-outside", "aggregator/merge/anchor.go", "		return true // left behind", "		return !planted(\"old-history-stays-outside\") // left behind"},
}
