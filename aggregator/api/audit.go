package api

import (
	"fmt"
	"net/http"
	"strconv"

	"tillwire/protocol"
)

// audit lists what people did, newest first.
func (a *API) audit(w http.ResponseWriter, r *http.Request) error {
	f := protocol.AuditFilter{Limit: 100}
	for key, values := range r.URL.Query() {
		v := values[0]
		switch key {
		case "who":
			f.Who = v
		case "action":
			f.Action = v
		case "object":
			f.Object = v
		case "before":
			n, err := strconv.ParseUint(v, 10, 64)
			if err != nil || n == 0 {
				return invalid("/before", "is "+v, "pass next of the page before as it is")
			}
			f.Before = n
		case "limit":
			n, err := number(v, f.Limit, pageMax)
			if err != nil {
				return invalid("/limit", err.Error(), fmt.Sprintf("give a number from 1 to %d", pageMax))
			}
			f.Limit = n
		default:
			return invalid("/"+key, "is not a parameter here", "use who, action, object, before or limit")
		}
	}
	page := struct {
		Entries []protocol.AuditEntry `json:"entries"`
		Next    uint64                `json:"next,omitempty"` // as before=
	}{Entries: a.o.Audit(f)}
	if n := len(page.Entries); n == f.Limit {
		page.Next = page.Entries[n-1].No
	}
	return reply(w, http.StatusOK, page)
}
