package intake

import (
	"net/http"
	"strconv"
	"time"

	"tillwire/protocol"
	"tillwire/store/journal"
)

// Status is the body of GET /v1/status.
type Status struct {
	Store        protocol.StoreID      `json:"store"`
	Agent        protocol.AgentID      `json:"agent"`
	AgentVersion string                `json:"agent_version"`
	Dev          bool                  `json:"dev"`
	Now          time.Time             `json:"now"`
	UptimeS      int64                 `json:"uptime_s"`
	Advice       Advice                `json:"advice"`
	Link         StatusLink            `json:"link"`
	Journal      StatusJournal         `json:"journal"`
	Stock        StatusStock           `json:"local_stock"`
	Registers    []StatusRegister      `json:"registers"`
	Tasks        int                   `json:"tasks"` // open; GET /v1/holds lists them
	Siblings     []StatusSibling       `json:"siblings,omitempty"`
	Update       *protocol.UpdateState `json:"update,omitempty"` // where this host updates itself, or should
}

// StatusLink is the way to the aggregator.
type StatusLink struct {
	State     string     `json:"state"` // connected, connecting, refused, off
	Broker    string     `json:"broker"`
	Since     *time.Time `json:"since"`
	NextTryAt *time.Time `json:"next_try_at"`
	Refused   string     `json:"refused"`
	LastError string     `json:"last_error"`

	ClockOffsetMS *int64 `json:"clock_offset_ms"` // the aggregator's clock less this machine's; null: never heard
}

// StatusJournal is the disk's side.
type StatusJournal struct {
	Phase           string     `json:"phase"`
	Epoch           uint64     `json:"epoch"`
	TailSeq         uint64     `json:"tail_seq"`
	HeadSeq         uint64     `json:"head_seq"`
	MergedSeq       uint64     `json:"merged_seq"`
	SafeSeq         uint64     `json:"safe_seq"`
	BacklogEvents   uint64     `json:"backlog_events"`
	BacklogBytes    uint64     `json:"backlog_bytes"`
	OldestUnackedAt *time.Time `json:"oldest_unacked_at"`
	LastPOSWriteAt  *time.Time `json:"last_pos_write_at"`
	FileBytes       int64      `json:"file_bytes"`
	DiskFreeBytes   uint64     `json:"disk_free_bytes"`
	FsyncP99US      int64      `json:"fsync_p99_us"`
	LastError       string     `json:"last_error"`
	BootReason      string     `json:"boot_reason"`
}

// StatusStock says how far the local stock is folded.
type StatusStock struct {
	SKUs            int    `json:"skus"`
	FromSeq         uint64 `json:"from_seq"`
	AsOfSeq         uint64 `json:"as_of_seq"`
	UnfoldedLines   uint64 `json:"unfolded_lines"`   // of articles beyond the bound
	UnresolvedVoids uint64 `json:"unresolved_voids"` // whose original is older than what is remembered
}

// StatusRegister is the last write of one till.
type StatusRegister struct {
	Register string    `json:"register"`
	LastAt   time.Time `json:"last_write_at"`
}

// StatusSibling is another agent of the shop, as counts here see it.
type StatusSibling struct {
	Agent     protocol.AgentID `json:"agent"`
	Address   string           `json:"address"`
	SeenAt    *time.Time       `json:"seen_at"` // its last answer; null: never asked, or it never answered
	LastError string           `json:"last_error"`
}

func moment(us int64) *time.Time {
	if us == 0 {
		return nil
	}
	t := time.UnixMicro(us).UTC()
	return &t
}

func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func linkState(l LinkStatus) string {
	switch {
	case l.Off:
		return "off"
	case l.Refused != "":
		return "refused"
	case l.Connected:
		return "connected"
	}
	return "connecting"
}

// snapshot gathers everything once, so that page and JSON agree.
func (in *Intake) snapshot() (Status, journal.State, LinkStatus) {
	st, link, now := in.o.Journal.State(), in.o.Link(), in.o.Now()
	s := Status{
		Store: in.o.Store, Agent: in.o.Agent, AgentVersion: in.o.Version, Dev: in.o.Dev, Now: now.UTC(),
		UptimeS: int64(now.Sub(in.started) / time.Second),
		Advice:  advise(st, link, in.started, now),
		Link: StatusLink{
			State: linkState(link), Broker: link.Broker, Since: instant(link.Since), NextTryAt: instant(link.NextTry),
			Refused: link.Refused, LastError: link.LastError, ClockOffsetMS: link.ClockOffsetMS,
		},
		Journal: StatusJournal{
			Phase: st.Phase, Epoch: st.Epoch, TailSeq: st.Tail, HeadSeq: st.Head, MergedSeq: st.Merged, SafeSeq: st.Safe,
			BacklogEvents: st.BacklogEvents, BacklogBytes: st.BacklogBytes, OldestUnackedAt: moment(st.OldestUnackedUS),
			LastPOSWriteAt: moment(st.LastPOS), FileBytes: st.FileBytes, DiskFreeBytes: st.DiskFree, FsyncP99US: st.FsyncP99US,
			LastError: st.LastError, BootReason: st.BootReason,
		},
		Registers: []StatusRegister{},
	}
	for _, r := range st.Registers {
		s.Registers = append(s.Registers, StatusRegister{r.Register, time.UnixMicro(r.LastUS).UTC()})
	}
	s.Tasks = len(in.Tasks())
	if in.o.Update != nil {
		s.Update = in.o.Update()
	}
	if in.o.Siblings != nil {
		s.Siblings = in.o.Siblings()
	}
	in.stock.mu.RLock()
	s.Stock = StatusStock{len(in.stock.cells), in.stock.from, in.stock.seq, in.stock.lost, in.stock.unres}
	in.stock.mu.RUnlock()
	return s, st, link
}

func (in *Intake) status(w http.ResponseWriter, _ *http.Request) {
	s, _, _ := in.snapshot()
	answerJSON(w, http.StatusOK, &s)
}

// healthz says that the process answers; whether tills can write says readyz.
func (in *Intake) healthz(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, "application/json", []byte(`{"status":"ok"}`+"\n"))
}

func (in *Intake) readyz(w http.ResponseWriter, _ *http.Request) {
	st := in.o.Journal.State()
	if st.Phase == phaseRunning || st.Phase == "" {
		answer(w, http.StatusOK, "application/json", []byte(`{"status":"ready"}`+"\n"))
		return
	}
	a := advise(st, in.o.Link(), in.started, in.o.Now())
	p := protocol.NewProblem(http.StatusServiceUnavailable, "not_ready", a.Headline, "the journal is "+strconv.Quote(st.Phase), a.Action)
	refuseRetry(w, p, 2*retryAfterS)
}
