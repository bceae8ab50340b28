package httphead

import (
	"bufio"
	"bytes"
	"net/http"
	"strconv"
	"testing"
)

func TestWhatIsReadAndWhatIsNot(t *testing.T) {
	const host = "Host: shop:7410\r\n"
	for lines, want := range map[string]*Fields{
		"":           {},
		host:         {Host: []byte("shop:7410")},
		"host:a\r\n": {Host: []byte("a")},
		host + "Authorization: Bearer x\r\nTRACEPARENT:\t00-1 \r\n":        {Host: []byte("shop:7410"), Authorization: []byte("Bearer x"), Traceparent: []byte("00-1")},
		host + "Content-Type: Application/JSON\r\nContent-Length: 120\r\n": {Host: []byte("shop:7410"), JSON: true, Length: 120},
		host + "Connection: Keep-Alive\r\nUser-Agent: till/9 (x; y)\r\n":   {Host: []byte("shop:7410")},
		host + "Authorization:\r\n":                                        {Host: []byte("shop:7410"), Authorization: []byte{}},
		host + host:                                                        nil,
		"Host:\r\n":                                                        nil,
		"Host: a\n":                                                        nil,
		"Host: a\r\nX":                                                     nil,
		" Host: a\r\n":                                                     nil,
		"Host : a\r\n":                                                     nil,
		": a\r\n":                                                          nil,
		"Host: a\x00\r\n":                                                  nil,
		"Ho\x80st: a\r\n":                                                  nil,
		"Authorization: a\r\nAuthorization: b\r\n":                         nil,
		"Connection: close\r\n":                                            nil,
		"Content-Type: text/csv\r\n":                                       nil,
		"Content-Type: application/json; charset=latin1\r\n":               nil,
		"Content-Length: 0\r\n":                                            nil,
		"Content-Length: +5\r\n":                                           nil,
		"Content-Length: 5\r\nContent-Length: 5\r\n":                       nil,
		"Content-Length: 9999999999\r\n":                                   nil,
		"Transfer-Encoding: chunked\r\n":                                   nil,
		"Content-Encoding: gzip\r\n":                                       nil,
		"Expect: 100-continue\r\n":                                         nil,
		"Upgrade: websocket\r\n":                                           nil,
		"TE: trailers\r\n":                                                 nil,
		"Trailer: x\r\n":                                                   nil,
		"Origin: http://evil\r\n":                                          nil,
		"Sec-Fetch-Site: cross-site\r\n":                                   nil,
	} {
		var f Fields
		switch ok := f.Read([]byte(lines)); {
		case ok != (want != nil):
			t.Errorf("%q: %v", lines, ok)
		case ok && !same(&f, want):
			t.Errorf("%q: %+v, want %+v", lines, f, *want)
		}
	}
}

func same(a, b *Fields) bool {
	return bytes.Equal(a.Host, b.Host) && bytes.Equal(a.Authorization, b.Authorization) && bytes.Equal(a.Traceparent, b.Traceparent) &&
		(a.Authorization == nil) == (b.Authorization == nil) && a.Length == b.Length && a.JSON == b.JSON
}

// FuzzRead: what is read here means the same to net/http.
func FuzzRead(f *testing.F) {
	f.Add([]byte("Host: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"))
	f.Add([]byte("Host: a\r\nConnection: keep-alive\r\nAuthorization: Bearer x\r\nTraceparent: y\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Fields
		if !h.Read(b) || h.Host == nil {
			return
		}
		whole := append([]byte("POST / HTTP/1.1\r\n"), b...)
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(append(whole, "\r\n"...))))
		if err != nil {
			t.Skip() // net/http refuses it: nothing is answered that it would have answered otherwise
		}
		if r.Host != string(h.Host) || r.Header.Get("Authorization") != string(h.Authorization) || r.Header.Get("Traceparent") != string(h.Traceparent) {
			t.Errorf("%q: %+v is %v %v to net/http", b, h, r.Host, r.Header)
		}
		if n := r.Header.Get("Content-Length"); h.Length != 0 && n != "" && n != strconv.Itoa(h.Length) && r.ContentLength != int64(h.Length) || r.Close || len(r.TransferEncoding) > 0 {
			t.Errorf("%q: a body of %d, to net/http of %d (%s), close %v", b, h.Length, r.ContentLength, n, r.Close)
		}
	})
}
