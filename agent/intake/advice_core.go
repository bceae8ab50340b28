package intake

import (
	"fmt"
	"strconv"
	"time"

	"tillwire/store/journal"
)

// Advice is the page in one sentence, and what to do about it.
type Advice struct {
	Level    string `json:"level"` // ok, warn, bad
	Headline string `json:"headline"`
	Detail   string `json:"detail"`
	Action   string `json:"action"` // "" = nothing
}

// Phases of the journal as its State names them.
const (
	phaseRunning    = "running"
	phaseFull       = "full"
	phaseRecovering = "recovering"
)

const (
	backlogGrace = time.Minute      // a backlog younger than this is traffic
	backlogLong  = time.Hour        // from here on somebody should look
	diskLow      = 0.10             // free share of the volume that earns a warning
	justStarted  = 20 * time.Second // the link may need as long
)

// advise judges the worst thing first: can the tills write, does the chain
// hear us, is anything about to go wrong.
func advise(st journal.State, link LinkStatus, started, now time.Time) Advice {
	waiting := waitingWords(st, now)
	switch {
	case st.Phase == phaseFull:
		return Advice{
			"bad", "The disk is full: tills cannot write", "Sales are refused until there is space. " + waiting,
			"Free space on the volume of the journal, then this heals by itself. Do not delete files of Tillwire.",
		}
	case st.Phase == phaseRecovering:
		return Advice{
			"bad", "The journal is being checked", "A write to the disk failed; tills try again by themselves. " + waiting,
			"Wait a minute. If this stays, check the disk and call support; do not switch off or delete anything.",
		}
	case st.Phase != phaseRunning && st.Phase != "":
		return Advice{"bad", "The agent is stopping", waiting, "Start the service tillwire-agent again."}
	case link.Refused != "":
		return Advice{
			"bad", "The chain does not take this shop's sales", "They are safe here. " + link.Refused + ". " + waiting,
			"Call central operations and read them this page. Tills may go on selling.",
		}
	case link.Off:
		return Advice{
			"warn", "No connection to the chain is set up", "Tills can write; nothing is sent. " + waiting,
			"Set link.broker in agent.toml, or enrol this agent.",
		}
	case !link.Connected && now.Sub(started) < justStarted && now.Sub(link.Since) < justStarted:
		return Advice{"ok", "Starting", "The connection to the chain is being made. " + waiting, ""}
	case !link.Connected:
		a := Advice{
			"warn", "Not connected since " + clock(link.Since, now), "Tills go on selling, and everything is kept here. " + waiting,
			"Check the router and the network cable. Sending starts again by itself.",
		}
		if now.Sub(link.Since) > backlogLong {
			a.Level = "bad"
			a.Action = "Check the router and the network cable. If the shop's other systems are online, call store IT."
		}
		return a
	case st.OldestUnackedUS != 0 && now.Sub(time.UnixMicro(st.OldestUnackedUS)) > backlogLong:
		return Advice{"warn", "Catching up", waiting, "Nothing yet. If the number does not fall within ten minutes, call store IT."}
	case st.OldestUnackedUS != 0 && now.Sub(time.UnixMicro(st.OldestUnackedUS)) > backlogGrace:
		return Advice{"ok", "Catching up", waiting, ""}
	case st.DiskTotal > 0 && float64(st.DiskFree) < diskLow*float64(st.DiskTotal):
		return Advice{
			"warn", "All well, but the disk is filling up", fmt.Sprintf("%s are free. ", bytesWords(st.DiskFree)) + waiting,
			"Free space on the volume of the journal before it is full.",
		}
	}
	return Advice{"ok", "All well", waiting, ""}
}

func waitingWords(st journal.State, now time.Time) string {
	if st.BacklogEvents == 0 {
		return "Nothing waits to be sent."
	}
	s := strconv.FormatUint(st.BacklogEvents, 10) + " documents wait"
	if st.BacklogEvents == 1 {
		s = "1 document waits"
	}
	if st.OldestUnackedUS != 0 {
		s += ", the oldest for " + span(now.Sub(time.UnixMicro(st.OldestUnackedUS)))
	}
	return s + "."
}

// clock writes a moment as people say it: today's time, else the date too.
func clock(t, now time.Time) string {
	if t.IsZero() {
		return "the start"
	}
	t = t.In(now.Location())
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format("15:04")
	}
	return t.Format("2 January 15:04")
}

// span writes a duration in its two largest units.
func span(d time.Duration) string {
	d = max(0, d)
	switch s := int(d / time.Second); {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min", s/60)
	case s < 86400:
		return fmt.Sprintf("%d h %d min", s/3600, s/60%60)
	default:
		return fmt.Sprintf("%d days %d h", s/86400, s/3600%24)
	}
}

func bytesWords(n uint64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	default:
		return fmt.Sprintf("%d KiB", n>>10)
	}
}
