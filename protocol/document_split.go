package protocol

import "strconv"

// SplitDocument cuts an event of any number of lines into events that the wire
// allows, for legacy files whose documents know no limit. The first keeps the
// document id, the others get "/2", "/3", …: the same file always splits the
// same way, so that a second reading is a duplicate. IDs are set on all.
//
// A full count must not be split by a caller that lets parts stand alone: its
// parts need one session.
func SplitDocument(e *Event) []*Event {
	if len(e.Lines) <= DocumentLinesMax {
		e.ID = MakeEventID(e.Store, e.Kind, e.DocumentID)
		return []*Event{e}
	}
	var out []*Event
	for from := 0; from < len(e.Lines); from += DocumentLinesMax {
		part := *e
		part.Lines = e.Lines[from:min(from+DocumentLinesMax, len(e.Lines))]
		if from > 0 {
			part.DocumentID += "/" + strconv.Itoa(from/DocumentLinesMax+1)
		}
		part.ID = MakeEventID(part.Store, part.Kind, part.DocumentID)
		out = append(out, &part)
	}
	return out
}
