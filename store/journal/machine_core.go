package journal

import (
	"errors"
	"time"
)

// The journal's life as a state machine, without I/O:
//
//	          commit failed                     reopened, checked
//	running ────────────────▶ recovering ──────────────────────▶ running
//	   │ ▲                      │   ▲ │                            or full
//	   │ │ room again           └───┘ │ corrupt: quarantine, salvage
//	   ▼ │                     retry  ▼
//	  full ◀── ENOSPC or ≥ 95 %     recovering (fresh file)
//
//	any ── close ──▶ closed
//
// Only running accepts appends. full still persists marks and trims, with the
// room that the ballast gave.
type phase uint8

const (
	phaseRunning phase = iota
	phaseFull
	phaseRecovering
	phaseClosed
)

func (p phase) String() string {
	return [...]string{"running", "full", "recovering", "closed"}[p]
}

// err is what an append is answered in a phase.
func (p phase) err() error {
	return [...]error{nil, ErrFull, ErrRecovering, ErrClosed}[p]
}

// machine is the state. The zero value runs.
type machine struct {
	phase   phase
	noSpace bool          // the last failure was ENOSPC: full again after recovery
	retry   time.Duration // pause before the next attempt to reopen
	ballast bool          // the file stands
	deep    bool          // verify everything at the next reopen
	aside   bool          // the file was set aside since it last opened
	strikes int           // commits in a row that met damage which a check of the file does not see
	used    int           // per cent of the volume, last heard
}

// input is one thing that happened.
type input struct {
	kind    inputKind
	err     error
	noSpace bool
	corrupt bool
	free    uint64
	total   uint64
}

type inputKind uint8

const (
	inCommitFailed inputKind = iota
	inCommitted              // after strikes
	inSuspect                // a reader met a damaged record
	inReopened
	inReopenFailed
	inDisk // free space was measured
	inBallast
	inNoBallast
	inClose
)

// effect is one thing to do, in order.
type effect uint8

const (
	effReopen      effect = iota // close, open, check; report inReopened or inReopenFailed
	effQuarantine                // set the file aside and salvage it; then reopen, or report inReopenFailed
	effFreeBallast               // remove the ballast; report inNoBallast
	effLayBallast                // write it; report inBallast
	effTrim                      // trim what is safe, whatever its age
	effRetry                     // reopen after machine.retry
)

// step takes one input and says what to do.
func (m machine) step(in input) (machine, []effect) {
	if m.phase == phaseClosed {
		return m, nil
	}
	switch in.kind {
	case inClose:
		m.phase = phaseClosed
	case inCommitFailed, inSuspect:
		m.phase, m.retry = phaseRecovering, 0
		m.noSpace = in.noSpace
		m.deep = m.deep || in.corrupt
		if in.corrupt && in.kind == inCommitFailed {
			// Twice in a row: the check passes and the next commit stumbles again. The
			// tills cannot wait for a third: the records go into a new file.
			if m.strikes++; m.strikes >= strikesMax {
				m.strikes, m.aside = 0, true
				return m, []effect{effQuarantine}
			}
		}
		if in.noSpace && m.ballast {
			return m, []effect{effFreeBallast, effReopen}
		}
		return m, []effect{effReopen}
	case inCommitted:
		m.strikes = 0
	case inReopened:
		m.phase, m.retry, m.deep, m.aside = phaseRunning, 0, false, false
		if m.noSpace {
			m.phase = phaseFull
			return m, []effect{effTrim}
		}
	case inReopenFailed:
		if in.corrupt && !m.aside {
			m.aside = true
			return m, []effect{effQuarantine}
		}
		m.retry = min(max(2*m.retry, retryMin), retryMax)
		return m, []effect{effRetry}
	case inDisk:
		return m.disk(in)
	case inBallast:
		m.ballast = true
	case inNoBallast:
		m.ballast = false
	}
	return m, nil
}

// disk judges a measurement. Between the thresholds the phase stays, so that a
// disk at the floor does not flap.
func (m machine) disk(in input) (machine, []effect) {
	if in.err != nil || in.total == 0 {
		return m, nil // unknown: ENOSPC will tell
	}
	m.used = int((in.total - min(in.free, in.total)) * 100 / in.total)
	switch {
	case m.used >= diskFullPercent && m.phase == phaseRunning:
		m.phase = phaseFull
		if m.ballast {
			return m, []effect{effFreeBallast, effTrim}
		}
		return m, []effect{effTrim}
	case m.used < diskRoomPercent && m.phase == phaseFull:
		m.phase, m.noSpace = phaseRunning, false
	}
	if m.used < diskSparePercent && m.phase == phaseRunning && !m.ballast {
		return m, []effect{effLayBallast}
	}
	return m, nil
}

// answer is what the waiters of a failed commit are told.
func answer(noSpace bool) error {
	if noSpace {
		return ErrFull
	}
	return ErrRecovering
}

// isCorrupt tells damage from a failing disk.
func isCorrupt(err error) bool {
	var c *CorruptError
	return errors.As(err, &c)
}
