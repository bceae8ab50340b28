package tryton

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tillwire/aggregator/poster"
	"tillwire/aggregator/poster/tryton/trytontest"
	"tillwire/aggregator/posting"
	"tillwire/protocol"
)

func connect(s *trytontest.Server, url string) *Connector {
	return New(Options{
		URL: url, User: trytontest.User, Password: trytontest.Password, Customer: "WALKIN", Supplier: "SUPPLIER", Transit: "TRANSIT", Now: time.Now,
		Stores: map[protocol.StoreID]Store{"S1": {Unsellable: "S1-DMG"}},
	})
}

var serial atomic.Uint64

// doc makes a document of n articles, each of quantity units.
func doc(class posting.Class, store protocol.StoreID, day time.Time, n int, quantity protocol.Quantity) *posting.Doc {
	d := &posting.Doc{
		Key: fmt.Sprintf("TEST%012d", serial.Add(1)), ERP: "erp", Store: store, Class: class, State: protocol.PostingDue,
		Day: int32(day.Unix() / 86_400), PostDay: int32(day.Unix() / 86_400),
	}
	for i := range n {
		d.Lines = append(d.Lines, posting.Line{Cell: uint32(i + 1), SKU: trytontest.SKU(i), Qty: quantity})
	}
	return sum(d)
}

func sum(d *posting.Doc) *posting.Doc {
	d.Count, d.Quantity = len(d.Lines), 0
	for _, l := range d.Lines {
		d.Quantity += l.Qty
	}
	return d
}

func refusal(t *testing.T, err error) *poster.Refusal {
	t.Helper()
	var r *poster.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("no refusal: %v", err)
	}
	return r
}

// TestTryton shows against the real thing what a mock would not. One server serves
// all parts: each looks at articles or stores of its own.
func TestTryton(t *testing.T) {
	s := trytontest.Start(t)
	for _, part := range []struct {
		name string
		run  func(*testing.T, *trytontest.Server)
	}{
		{"every class moves what it says", everyClass},
		{"a lost answer does not post twice", lostAnswers},
		{"two posters post once", twoPosters},
		{"articles that Tryton does not have are named", unknownArticles},
		{"a forgotten session is opened anew", staleSession},
		{"an unknown method is fatal, a wrong password too", fatalities},
		{"someone else's shipment is no posting", differs},
		{"one move per article keeps large documents linear", netting},
		{"what it has is read back", readBack},
		{"master data", masterData},
		{"a closed period refuses, whenever it was closed", closedPeriod}, // last: it closes the past
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, s) })
	}
}

func post(t *testing.T, c *Connector, d *posting.Doc) poster.Receipt {
	t.Helper()
	r, err := c.Post(context.Background(), d)
	if err != nil {
		t.Fatalf("%s: %v", d.Class, err)
	}
	return r
}

func everyClass(t *testing.T, s *trytontest.Server) {
	c, today := connect(s, s.URL), time.Now().UTC()
	var want, damaged, transit protocol.Quantity
	for _, x := range []struct {
		class posting.Class
		units int64
	}{
		{posting.ClassOpening, 7},
		{posting.ClassReceipt, 100},
		{posting.ClassReceipt, -3},
		{posting.ClassSale, -40},
		{posting.ClassSale, 2},
		{posting.ClassReturn, 5},
		{posting.ClassReturn, -1},
		{posting.ClassTransferOut, -6},
		{posting.ClassTransferIn, 4},
		{posting.ClassCount, -2},
		{posting.ClassCount, 3},
		{posting.ClassKit, -1},
		{posting.ClassDamage, -2},
		{posting.ClassFound, 1},
		{posting.ClassDamaged, 3},
		{posting.ClassQuarantine, -1},
		{posting.ClassSale, -90}, // more than there is: a physical sale is never refused
	} {
		q := protocol.Units(x.units)
		r := post(t, c, doc(x.class, "S1", today, 3, q))
		if r.ID == "" {
			t.Errorf("%s: no id", x.class)
		}
		switch {
		case x.class.Status():
			damaged += q
			want -= q
		case x.class == posting.ClassTransferOut || x.class == posting.ClassTransferIn:
			transit -= q
			want += q
		default:
			want += q
		}
	}
	for code, q := range map[string]protocol.Quantity{"S1-STO": want, "S1-DMG": damaged, "TRANSIT": transit} {
		if got := s.Stock(code)[trytontest.SKU(1)]; got != q {
			t.Errorf("%s has %s, want %s", code, got, q)
		}
	}
	if r := post(t, c, doc(posting.ClassDamaged, "S2", today, 1, protocol.Units(1))); r.ID != "" || r.Note == "" {
		t.Errorf("S2 has no place for what is damaged: %+v", r)
	}
	weighed := doc(posting.ClassSale, "S1", today, 0, 0)
	weighed.Lines = []posting.Line{{SKU: trytontest.SKU(trytontest.Products - 2), Qty: -450}, {SKU: trytontest.SKU(9), Qty: protocol.Units(-1)}}
	post(t, c, sum(weighed))
	if got := s.Stock("S1-STO")[trytontest.SKU(trytontest.Products-2)]; got != -450 {
		t.Errorf("0.45 kg became %s", got)
	}
}

// faulty passes requests on, and lets answers get lost after Tryton has worked.
func faulty(t *testing.T, to string, drop func(n int64) bool) *httptest.Server {
	t.Helper()
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), r.Method, to, r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		req.Header, req.ContentLength = r.Header.Clone(), r.ContentLength
		resp, err := http.DefaultClient.Do(req)
		if err != nil || drop(n.Add(1)) {
			panic(http.ErrAbortHandler) // the connection breaks: nobody knows whether it was done
		}
		defer func() { _ = resp.Body.Close() }()
		for k, v := range resp.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))
	t.Cleanup(srv.Close)
	return srv
}

// lostAnswers loses the answer to the first, second, … call of a posting, each once.
func lostAnswers(t *testing.T, s *trytontest.Server) {
	before, docs := s.Stock("S2-STO")[trytontest.SKU(0)], int64(0)
	c := connect(s, s.URL)
	post(t, c, doc(posting.ClassSale, "S2", time.Now().UTC(), 2, protocol.Units(-1))) // what is asked once is known from here on
	for lost := int64(1); ; lost++ {
		d := doc(posting.ClassSale, "S2", time.Now().UTC(), 2, protocol.Units(-1))
		dropped := false
		c.url = faulty(t, s.URL, func(n int64) bool {
			dropped = dropped || n == lost
			return n == lost
		}).URL
		_, err := c.Post(context.Background(), d)
		c.url = s.URL
		if err != nil {
			if r := refusal(t, err); r.Remedy != poster.Retry || !r.Down {
				t.Fatalf("lost answer %d: %+v", lost, r)
			}
			post(t, c, d)
		}
		docs++
		if !dropped {
			break
		}
	}
	if docs < 9 {
		t.Errorf("only %d answers could get lost", docs-1)
	}
	if got, want := s.Stock("S2-STO")[trytontest.SKU(0)], before-protocol.Units(docs+1); got != want {
		t.Errorf("%d sales, an answer lost in each: Tryton has %s, want %s", docs, got, want)
	}
}

func twoPosters(t *testing.T, s *trytontest.Server) {
	before := s.Stock("S3-STO")[trytontest.SKU(0)]
	const docs, posters = 3, 2
	for range docs {
		d := doc(posting.ClassShrink, "S3", time.Now().UTC(), 2, protocol.Units(-1))
		var wg sync.WaitGroup
		for range posters {
			c := connect(s, s.URL)
			wg.Go(func() {
				for range 20 {
					_, err := c.Post(context.Background(), d)
					if err == nil {
						return
					}
					var r *poster.Refusal
					if !errors.As(err, &r) || r.Remedy != poster.Retry {
						t.Errorf("racing: %v", err)
						return
					}
				}
				t.Error("a poster never came to an end")
			})
		}
		wg.Wait()
	}
	if got, want := s.Stock("S3-STO")[trytontest.SKU(0)], before-protocol.Units(docs); got != want {
		t.Errorf("%d documents posted by %d at once moved stock from %s to %s, want %s", docs, posters, before, got, want)
	}
	if n := s.Shipments("stock.shipment.internal"); n["draft"]+n["waiting"]+n["assigned"] > 0 {
		t.Errorf("something is left half-done: %v", n)
	}
}

func unknownArticles(t *testing.T, s *trytontest.Server) {
	c := connect(s, s.URL)
	d := doc(posting.ClassSale, "S3", time.Now().UTC(), 2, protocol.Units(-1))
	d.Lines = append(d.Lines, posting.Line{SKU: "NOSUCH", Qty: protocol.Units(-1)})
	_, err := c.Post(context.Background(), sum(d))
	if r := refusal(t, err); r.Code != "product_unknown" || !slices.Equal(r.Unknown, []protocol.SKU{"NOSUCH"}) {
		t.Errorf("%+v", r)
	}
	half := doc(posting.ClassSale, "S3", time.Now().UTC(), 1, -500)
	_, err = c.Post(context.Background(), half)
	if r := refusal(t, err); r.Code != "quantity_precision" || len(r.Unknown) != 1 {
		t.Errorf("half a piece: %+v", r)
	}
	_, err = c.Post(context.Background(), doc(posting.ClassSale, "S9", time.Now().UTC(), 1, protocol.Units(-1)))
	if r := refusal(t, err); r.Code != "warehouse_unknown" || r.Remedy != poster.Park {
		t.Errorf("a store that Tryton does not have: %+v", r)
	}
}

func staleSession(t *testing.T, s *trytontest.Server) {
	c := connect(s, s.URL)
	post(t, c, doc(posting.ClassFound, "S3", time.Now().UTC(), 1, protocol.Units(1)))
	c.session = "YWRtaW46MTpmb3Jnb3R0ZW4="
	post(t, c, doc(posting.ClassShrink, "S3", time.Now().UTC(), 1, protocol.Units(-1)))
	want := s.Stock("S3-STO")
	c.session = "YWRtaW46MTpmb3Jnb3R0ZW4=" // forgotten in the middle of a statement
	got, err := c.Stock(context.Background(), "S3")
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("stock of S3: %v %s", err, d)
	}
}

func fatalities(t *testing.T, s *trytontest.Server) {
	c := connect(s, s.URL)
	if _, err := c.ClosedTo(context.Background()); err != nil {
		t.Fatal(err)
	}
	if r := refusal(t, c.call(context.Background(), nil, "model.stock.move.teleport", []int64{1})); r.Remedy != poster.Fatal || r.Code != "erp_method" {
		t.Errorf("an unknown method: %+v", r)
	}
	c = connect(s, s.URL)
	c.password = "wrong"
	_, err := c.ClosedTo(context.Background())
	if r := refusal(t, err); r.Remedy != poster.Fatal || r.Code != "login_refused" {
		t.Errorf("a wrong password: %+v", r)
	}
	c = connect(s, "http://127.0.0.1:1/erp/")
	_, err = c.ClosedTo(context.Background())
	if r := refusal(t, err); r.Remedy != poster.Retry || !r.Down {
		t.Errorf("nobody there: %+v", r)
	}
}

func differs(t *testing.T, s *trytontest.Server) {
	c := connect(s, s.URL)
	d := doc(posting.ClassFound, "S3", time.Now().UTC(), 1, protocol.Units(1))
	post(t, c, d)
	d.Lines[0].Qty = protocol.Units(2)
	_, err := c.Post(context.Background(), sum(d))
	if r := refusal(t, err); r.Code != "erp_differs" || r.Remedy != poster.Park {
		t.Errorf("%+v", r)
	}
}

// netting shows the limit of Tryton that shapes documents: moves of one article cost
// more the more there are, moves of different ones do not.
func netting(t *testing.T, s *trytontest.Server) {
	c := connect(s, s.URL)
	per := func(n int) time.Duration {
		begun := time.Now()
		post(t, c, doc(posting.ClassReceipt, "S3", time.Now().UTC(), n, protocol.Units(10)))
		return time.Since(begun) / time.Duration(n)
	}
	per(1)
	small, large := per(20), per(200)
	t.Logf("%s a line in a document of 20, %s in one of 200", small.Round(time.Millisecond), large.Round(time.Millisecond))
	if large > 4*small {
		t.Errorf("documents of different articles are not linear: %s a line, then %s", small, large)
	}
}

func closedPeriod(t *testing.T, s *trytontest.Server) {
	c, yesterday := connect(s, s.URL), time.Now().UTC().AddDate(0, 0, -1)
	ready := doc(posting.ClassSale, "S2", yesterday, 1, protocol.Units(-1))
	if err := c.prepare(context.Background()); err != nil {
		t.Fatal(err)
	}
	p, err := c.place(context.Background(), "S2")
	if err != nil {
		t.Fatal(err)
	}
	f, head, from, to, err := c.route(ready, &p)
	if err == nil {
		_, err = c.create(context.Background(), &f, ready, head, from, to) // a draft is there, then the period is closed
	}
	if err != nil {
		t.Fatal(err)
	}
	before := s.Stock("S2-STO")[trytontest.SKU(0)]
	s.Close(yesterday)
	closed, err := c.ClosedTo(context.Background())
	if err != nil || closed != int32(yesterday.Unix()/86_400) {
		t.Fatalf("closed to %d, %v", closed, err)
	}
	for name, d := range map[string]*posting.Doc{"a draft of before": ready, "a new one": doc(posting.ClassSale, "S2", yesterday, 1, protocol.Units(-1))} {
		_, err = c.Post(context.Background(), d)
		if r := refusal(t, err); !r.Closed || r.Code != "period_closed" {
			t.Errorf("%s: %+v", name, r)
		}
		d.PostDay++
		if r := post(t, c, d); r.ID == "" {
			t.Errorf("%s was not posted to the open day", name)
		}
	}
	if got := s.Stock("S2-STO")[trytontest.SKU(0)]; got != before-protocol.Units(2) {
		t.Errorf("two sales moved %s to %s", before, got)
	}
}

func readBack(t *testing.T, s *trytontest.Server) {
	c, begun := connect(s, s.URL), time.Now().Add(-time.Minute)
	want := map[string]posting.Found{}
	for class, units := range map[posting.Class]int64{
		posting.ClassSale: -2, posting.ClassReturn: 1, posting.ClassReceipt: 5, posting.ClassShrink: -1, posting.ClassFound: 3, posting.ClassTransferOut: -2, posting.ClassDamaged: 2,
	} {
		d := doc(class, "S1", time.Now().UTC(), 2, protocol.Units(units))
		r := post(t, c, d)
		x := posting.Found{Key: d.Key, Store: d.Store, Day: d.Day, Class: class, ERPID: r.ID}
		for _, l := range d.Lines {
			x.Lines = append(x.Lines, posting.Line{SKU: l.SKU, Qty: l.Qty})
		}
		want[d.Key] = x
	}
	draft := doc(posting.ClassShrink, "S1", time.Now().UTC(), 1, protocol.Units(-1)) // cut off after it was made
	var place, ids []int64
	s.Call(&place, "model.stock.location.search", []any{[]any{"code", "=", "S1-STO"}}, 0, 1, nil)
	s.Call(&ids, "model.stock.shipment.internal.create", []any{map[string]any{"reference": draft.Reference(), "from_location": place[0], "to_location": place[0]}})
	want[draft.Key] = posting.Found{Key: draft.Key, Store: "S1", Day: draft.Day, Class: posting.ClassShrink, ERPID: fmt.Sprint("stock.shipment.internal ", ids[0]), Begun: true}
	list, err := connect(s, s.URL).Found(context.Background(), begun)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]posting.Found{}
	for _, x := range list {
		if _, ok := want[x.Key]; ok {
			got[x.Key] = x
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if list, err = c.Found(context.Background(), time.Now().Add(time.Hour)); err != nil || len(list) != 0 {
		t.Errorf("of the future: %d, %v", len(list), err)
	}
	before := s.Shipments("stock.shipment.internal")
	for range 2 { // who asks again finds it cancelled
		x := want[draft.Key]
		if err := c.Drop(context.Background(), &x); err != nil {
			t.Error(err)
		}
	}
	after := s.Shipments("stock.shipment.internal")
	if after["draft"] != before["draft"]-1 || after["cancelled"] != before["cancelled"]+1 {
		t.Errorf("%v became %v", before, after)
	}
	ended := posting.Found{ERPID: "stock.shipment.internal nothing"}
	if err := c.Drop(context.Background(), &ended); err == nil {
		t.Error("what has no number was dropped")
	}
}

func masterData(t *testing.T, s *trytontest.Server) {
	c := connect(s, s.URL)
	m, err := c.Master(context.Background(), false)
	if err != nil {
		t.Fatal(err)
	}
	bySKU := map[protocol.SKU]*protocol.Item{}
	for _, it := range m.Items {
		bySKU[it.SKU] = it
	}
	if len(m.Items) != trytontest.Products || len(m.Wrong) != 0 {
		t.Errorf("%d articles, wrong: %v", len(m.Items), m.Wrong)
	}
	kilo := bySKU[trytontest.SKU(trytontest.Products-2)]
	if kilo == nil || kilo.BaseUnit != "KGM" || !slices.ContainsFunc(kilo.Units, func(u protocol.UnitOfItem) bool { return u.UOM == "GRM" && u.Factor == 1 }) {
		t.Errorf("sold by weight: %+v", kilo)
	}
	if it := bySKU[trytontest.SKU(9)]; it == nil || !strings.HasPrefix(it.Name, "Article 9") || len(it.SKU) != 14 {
		t.Errorf("known by its barcode: %+v", it)
	}
	places, err := c.Locations(context.Background())
	if diff := cmp.Diff([]string{"S1", "S2", "S3", "WH"}, places); err != nil || diff != "" {
		t.Errorf("warehouses: %v %s", err, diff)
	}
}
