package intake

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"tillwire/protocol"
)

// The one hot call without net/http: same checks, same answer, less around them.
// What it will not answer, net/http answers with all the words.

// Post is a document POSTed as application/json, as it came: head values without
// blanks around them, nil where there were none.
type Post struct {
	Path, Host, Authorization, Traceparent, Body []byte
}

// dated is the Date header's value of one second.
type dated struct {
	unix int64
	line []byte
}

// AppendPost journals a document and appends the whole HTTP/1.1 answer to b, or
// tells that the call must be answered the long way: then the journal was not asked.
func (in *Intake) AppendPost(ctx context.Context, b []byte, p *Post) ([]byte, bool) {
	k, ok := writePaths[string(p.Path)]
	if !ok || !in.welcome(p) {
		return b, false
	}
	select {
	case in.slots <- struct{}{}:
		defer func() { <-in.slots }()
	default:
		return b, false
	}
	began := time.Now()
	e, problem := protocol.DecodeDocument(p.Body, protocol.Source{Store: in.o.Store, Kind: k, Schemes: in.o.Schemes})
	if problem != nil {
		return b, false
	}
	in.complete(e, string(p.Traceparent))
	rec, err := in.o.Journal.Append(ctx, e)
	if err != nil {
		return in.appendRefused(b, k, err), true
	}
	in.count.journaled(e, rec.Duplicate)
	in.count.seconds.UpdateDuration(began)
	status := "201 Created"
	if rec.Duplicate {
		status = "200 OK"
	}
	var room [320]byte
	return in.appendAnswer(b, status, "application/json", append(appendResult(room[:0], &rec, in.warnings(e)), '\n'), 0), true
}

// appendRefused is what refuseJournal answers.
func (in *Intake) appendRefused(b []byte, k protocol.Kind, err error) []byte {
	p, retryS := in.journalRefused(k, err)
	body, err := json.Marshal(p)
	if err != nil { // a problem always marshals
		body = []byte(`{"code":"internal"}`)
	}
	return in.appendAnswer(b, strconv.Itoa(p.Status)+" "+http.StatusText(p.Status), protocol.ContentTypeProblem, append(body, '\n'), retryS)
}

// appendAnswer writes the heads that net/http and the guards write.
func (in *Intake) appendAnswer(b []byte, status, contentType string, body []byte, retryS int) []byte {
	b = append(append(b, "HTTP/1.1 "...), status...)
	b = append(b, "\r\nCache-Control: no-store\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(append(b, "\r\nContent-Type: "...), contentType...)
	if retryS > 0 {
		b = strconv.AppendInt(append(b, "\r\nRetry-After: "...), int64(retryS), 10)
	}
	b = append(append(b, "\r\nX-Content-Type-Options: nosniff\r\nDate: "...), in.httpDate(time.Now())...)
	return append(append(b, "\r\n\r\n"...), body...)
}

// welcome is what the guards ask of a request whose other headers front has judged.
func (in *Intake) welcome(p *Post) bool {
	if seen := in.hostSeen.Load(); seen == nil || string(p.Host) != *seen {
		host := string(p.Host)
		if !in.ourHost(host) {
			return false
		}
		in.hostSeen.Store(&host)
	}
	return len(in.tokens) == 0 || in.knownToken(string(p.Authorization))
}

// httpDate is made once a second.
func (in *Intake) httpDate(now time.Time) []byte {
	d := in.date.Load()
	if d == nil || d.unix != now.Unix() {
		d = &dated{now.Unix(), []byte(now.UTC().Format(http.TimeFormat))}
		in.date.Store(d)
	}
	return d.line
}
