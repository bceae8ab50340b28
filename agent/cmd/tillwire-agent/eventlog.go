package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/rs/zerolog"
)

// eventIDs are the numbers under which messages stand in the Windows Event Log.
// Monitoring is set up for numbers: one is never given to another message, and a
// message that is dropped leaves its number unused. EventCreate.exe, whose texts
// the log uses, knows 1 to 1000.
var eventIDs = map[string]uint32{
	"agent ready": 1,
	"agent ended; the service manager restarts it": 10,
	"service manager not told":                     11,

	"own port does not answer; no sign of life for the service manager": 12,

	"the installed program runs":                                                   20,
	"a fetched program ended":                                                      21,
	"the wanted version was not had":                                               22,
	"this program did not prove itself; the one before comes back":                 23,
	"what is known of updates cannot be read or kept":                              24,
	"journal: the file is corrupt":                                                 100,
	"journal: the file could not be checked in a child process":                    101,
	"journal: open not noted":                                                      102,
	"journal: commit failed, the file is reopened and checked":                     103,
	"journal: read journal failed, the file is reopened and checked":               112,
	"journal: reopen failed, the file is reopened and checked":                     113,
	"journal: set the corrupt file aside failed, the file is reopened and checked": 114,
	"journal: trim under disk pressure failed":                                     104,
	"journal: ballast not freed":                                                   105,
	"journal: ballast freed, the disk is full":                                     106,
	"journal: ballast not laid":                                                    107,
	"journal: salvaged a damaged file; keep it for analysis":                       115,
	"journal not verified to its head":                                             108,
	"journal not trimmed":                                                          109,
	"journal refused a document":                                                   110,
	"local stock could not follow the journal":                                     111,
	"import ended early":                                                           120,
	"state of the import not written":                                              121,
	"link is down; journaling goes on":                                             200,
	"link pauses":                                                                  201,
	"inbox cannot be read":                                                         300,
	"inbox file is tried again":                                                    301,
	"inbox file taken":                                                             302,
	"inbox waits for the journal":                                                  303,
	"another agent version is wanted on this host":                                 400,
	"kept orders cannot be read; they are asked for again":                         401,
	"desired state refused; the one before holds":                                  402,
	"command without a usable id refused":                                          403,
	"command not answered; it comes again":                                         404,
	"kept holds cannot be read; the aggregator will send them again":               405,
	"tasks that the restored aggregator does not know are told to it":              406,
}

const (
	eventLifeMax = 9   // below stand messages of a service's life, which are no warnings
	eventWarning = 900 // a message without a number of its own
	eventError   = 901

	eventBytesMax = 16 << 10 // of one text; Windows takes 31,839 characters
)

// reporter is the system's event log.
type reporter interface {
	Info(id uint32, text string) error
	Warning(id uint32, text string) error
	Error(id uint32, text string) error
}

// mirror copies what a person should see from the log to the system's event log:
// warnings, errors, and the beginnings of a service's life.
type mirror struct {
	io.Writer // the log itself
	to        reporter
}

// WriteLevel is zerolog's door. The event log may be full or broken: the log goes on.
func (m *mirror) WriteLevel(level zerolog.Level, line []byte) (int, error) {
	var fields map[string]any
	if level >= zerolog.InfoLevel && json.Unmarshal(line, &fields) == nil {
		message, _ := fields[zerolog.MessageFieldName].(string)
		if id := eventID(level, message); id != 0 {
			m.report(level, id, eventText(message, fields))
		}
	}
	return m.Write(line)
}

func (m *mirror) report(level zerolog.Level, id uint32, text string) {
	switch {
	case level >= zerolog.ErrorLevel:
		_ = m.to.Error(id, text)
	case level == zerolog.WarnLevel:
		_ = m.to.Warning(id, text)
	default:
		_ = m.to.Info(id, text)
	}
}

// eventID is 0 for what does not belong into the event log.
func eventID(level zerolog.Level, message string) uint32 {
	own := eventIDs[message]
	switch {
	case level >= zerolog.ErrorLevel:
		return cmp.Or(own, eventError)
	case level == zerolog.WarnLevel:
		return cmp.Or(own, eventWarning)
	}
	if own <= eventLifeMax {
		return own
	}
	return 0
}

// eventText is the message, and its fields one a line.
func eventText(message string, fields map[string]any) string {
	var b strings.Builder
	b.WriteString(message)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if name != zerolog.MessageFieldName && name != zerolog.LevelFieldName && name != zerolog.TimestampFieldName {
			fmt.Fprintf(&b, "\r\n%s: %v", name, fields[name])
		}
	}
	return strings.ToValidUTF8(strings.ReplaceAll(b.String()[:min(b.Len(), eventBytesMax)], "\x00", ""), "")
}
