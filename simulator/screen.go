package simulator

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"tillwire/protocol"
)

// screen is the terminal view of a running fleet: one block that is drawn over
// itself, with what was said last below. It writes nothing but escape sequences
// that every terminal knows.
type screen struct {
	out   io.Writer
	width func() int

	mu    sync.Mutex
	notes []string
	drawn int // lines
	rates []float64
	lags  []float64
	backs []float64
	over  bool
}

const (
	screenNotes = 6
	screenWide  = 100
	sparkWide   = 40
)

func newScreen(out io.Writer, width func() int) *screen { return &screen{out: out, width: width} }

// note keeps a line of what happened; before the first look it is just printed.
func (s *screen) note(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := time.Now().Format("15:04:05 ") + text
	if s.drawn == 0 || s.over {
		_, _ = fmt.Fprintln(s.out, line)
		return
	}
	s.notes = append(s.notes, line)
	if len(s.notes) > screenNotes {
		s.notes = s.notes[1:]
	}
}

// show draws a look.
func (s *screen) show(r *rehearsal, x view) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	s.rates, s.lags, s.backs = spark(s.rates, x.DocsPerS), spark(s.lags, x.P99MS), spark(s.backs, float64(x.Backlog))
	s.draw(s.block(r, x))
}

func spark(list []float64, v float64) []float64 {
	list = append(list, v)
	return list[max(0, len(list)-sparkWide):]
}

func (s *screen) block(r *rehearsal, x view) []string {
	total := r.story.Lasts.D()
	done := min(1, max(0, x.Story.Sub(time.Time(r.story.Starts)).Seconds()/total.Seconds()))
	bar := strings.Repeat("█", int(done*30)) + strings.Repeat("░", 30-int(done*30))
	eta := ""
	if left := r.clock.real(r.ends.Sub(x.Story)); left > 0 && left < 100*time.Hour {
		eta = ", " + left.Round(time.Second).String() + " left"
	}
	failed, errs := r.complaints()
	web := r.pledge.result()
	out := []string{
		fmt.Sprintf("\x1b[1m%s\x1b[0m  %s · seed %d · http://%s/", r.story.Title, plural(len(r.places), "store"), r.o.Seed, r.fleet.Aggregator),
		fmt.Sprintf("%s %3.0f %%  %s by the story, %.0f×%s", bar, 100*done, x.Story.Format("Mon 2 Jan 15:04"), x.Rate, eta),
		"",
		fmt.Sprintf("sales      %10.0f /s   %s  %s journaled", x.DocsPerS, sparkline(s.rates), grouped(x.Posted)),
		fmt.Sprintf("on the way %10s      %s  %s merged (%.0f/s)", grouped(x.Backlog), sparkline(s.backs), grouped(x.Merged), x.MergedPerS),
		fmt.Sprintf("lag p99    %10.0f ms   %s  p50 %.0f ms, sale to availability", x.P99MS, sparkline(s.lags), x.P50MS),
		fmt.Sprintf("stores     %s online, %d draining, %d offline, %d stuck · %s cut · furthest behind %s", grouped(x.By[protocol.PresenceOnline]+x.By[protocol.PresencePOSSilent]),
			x.By[protocol.PresenceDraining]+x.By[protocol.PresenceRebuilding], x.By[protocol.PresenceOffline], x.By[protocol.PresenceStuck], plural(x.Down, "line"), worstWord(x)),
		fmt.Sprintf("web        %s asked, %s promised, %s collected, %s oversold", grouped(web.Asked), grouped(web.Promised), grouped(web.Collected), grouped(web.Oversold)),
		fmt.Sprintf("truth      %s of %s sampled numbers are behind it now · %s refused · memory %s", grouped(x.Off), grouped(x.Looked), plural(int(r.crew.poison.Load()), "bad document"), bytesWord(x.RSS)),
	}
	faults := "none"
	if len(x.Faults) > 0 {
		faults = strings.Join(x.Faults, " · ")
	}
	out = append(out, "faults     "+faults)
	switch broken := r.crew.broken(); {
	case broken != "":
		out = append(out, "\x1b[31merror      "+broken+"\x1b[0m")
	case failed > 0:
		out = append(out, fmt.Sprintf("\x1b[33merrors     %d questions failed: %s\x1b[0m", failed, errs[len(errs)-1]))
	default:
		out = append(out, "errors     none")
	}
	return append(append(out, ""), s.notes...)
}

func worstWord(x view) string {
	if x.Worst == "" {
		return "nobody"
	}
	return x.Worst + " " + lagWord(x.LagS)
}

// draw goes back over what was drawn before.
func (s *screen) draw(lines []string) {
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.drawn)
	}
	wide := s.width()
	for _, l := range lines {
		b.WriteString("\r\x1b[2K" + clip(l, wide) + "\n")
	}
	b.WriteString("\x1b[J")
	s.drawn = len(lines)
	_, _ = io.WriteString(s.out, b.String())
}

// end leaves the last view standing; what is said afterwards follows below.
func (s *screen) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}

// clip cuts a line to the terminal's width; escape sequences take no room.
func clip(l string, wide int) string {
	var b strings.Builder
	n, escape := 0, false
	for _, c := range l {
		switch {
		case c == '\x1b':
			escape = true
		case escape:
			escape = c != 'm'
		default:
			if n++; n > wide-1 {
				continue
			}
		}
		b.WriteRune(c)
	}
	return b.String()
}

var bars = []rune("▁▂▃▄▅▆▇█")

// sparkline draws numbers as a row of bars.
func sparkline(list []float64) string {
	top := 0.0
	for _, v := range list {
		top = max(top, v)
	}
	out := []rune(strings.Repeat(" ", sparkWide-len(list)))
	for _, v := range list {
		k := 0
		if top > 0 {
			k = int(v / top * float64(len(bars)-1))
		}
		out = append(out, bars[k])
	}
	return string(out)
}
