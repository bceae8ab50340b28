package feedtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tillwire/aggregator/feed"
	"tillwire/protocol"
)

// Fixture is a format with files that it must read, and such that it must not.
type Fixture struct {
	Format feed.Format
	Name   string            // of a file, e.g. stock.edi
	Good   []byte            // a file of which everything is taken
	Said   []string          // what it becomes, as Door.Said tells
	Broken map[string]Broken // by what is wrong with it
	Cuts   int               // bytes between two cuts of Good; 0 = 7
}

// Broken is a file that is parked, at least in part.
type Broken struct {
	Raw  []byte
	Code string // cause of the exception
}

const source = "partner"

// rig is a folder with a desk behind it.
type rig struct {
	t    *testing.T
	f    *Fixture
	door *Door
	desk *feed.Desk
	drop *feed.Drop
	dir  string
}

func open(t *testing.T, f *Fixture, dir string, door *Door) *rig {
	t.Helper()
	desk, err := feed.New(feed.Options{Accept: door.Accept, Fact: door.Fact})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, f: f, door: door, desk: desk, dir: dir}
	if r.drop, err = desk.OpenDrop(source, dir, f.Format, time.Hour, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) put(name string, raw []byte) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), raw, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// looks has the folder looked at twice: a file must stand still between two looks.
func (r *rig) looks() {
	r.t.Helper()
	for range 2 {
		if err := r.drop.Look(context.Background()); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) has(sub string) []string {
	r.t.Helper()
	list, err := os.ReadDir(filepath.Join(r.dir, sub))
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, en := range list {
		if en.Type().IsRegular() && !strings.HasSuffix(en.Name(), ".reason.json") {
			out = append(out, en.Name())
		}
	}
	return out
}

// Conformance holds a format to what the inbound model promises.
func Conformance(t *testing.T, f Fixture) {
	t.Run("good file, once and again", f.once)
	t.Run("broken files are parked and kept", f.broken)
	t.Run("every cut parks or takes, and the whole file mends it", f.cut)
	t.Run("a file that grows is left", f.grows)
	t.Run("a crash on the way loses and doubles nothing", f.crash)
	t.Run("encodings", f.encodings)
	t.Run("it is shown", f.shown)
}

func (f *Fixture) compare(t *testing.T, got []string) {
	t.Helper()
	if !slices.Equal(got, f.Said) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(f.Said, "\n\t"))
	}
}

func (f *Fixture) once(t *testing.T) {
	r := open(t, f, t.TempDir(), &Door{})
	r.put(f.Name, f.Good)
	r.looks()
	f.compare(t, r.door.Said())
	if d := r.has("done"); !slices.Equal(d, []string{f.Name}) || len(r.has("")) != 0 {
		t.Errorf("done holds %q, the folder %q, parked %v", d, r.has(""), r.door.Exceptions)
	}
	for _, o := range r.door.Origins {
		if string(o.Agent) != protocol.FeedAgentPrefix+source {
			t.Errorf("a document came as %s", o)
		}
	}
	r.put(f.Name, f.Good)
	r.looks()
	f.compare(t, r.door.Said())
	if len(r.has("done")) != 2 || len(r.door.Exceptions) != 0 {
		t.Errorf("sent again: done holds %q, parked %v", r.has("done"), r.door.Exceptions)
	}
}

func (f *Fixture) broken(t *testing.T) {
	for name, b := range f.Broken {
		t.Run(name, func(t *testing.T) {
			r := open(t, f, t.TempDir(), &Door{})
			r.put(f.Name, b.Raw)
			r.looks()
			if len(r.has("failed")) != 1 || len(r.door.Exceptions) == 0 {
				t.Fatalf("failed holds %q, %d exceptions; taken: %q", r.has("failed"), len(r.door.Exceptions), r.door.Said())
			}
			for _, x := range r.door.Exceptions {
				if x.Code != b.Code || x.Reason == "" || x.Media == "" || len(x.Raw) == 0 && len(b.Raw) > 0 {
					t.Errorf("parked as %s (want %s): %q, media %q, %d bytes", x.Code, b.Code, x.Reason, x.Media, len(x.Raw))
				}
				if _, p := r.desk.Reread(&x); p == nil && b.Code != "control_number_reused" {
					t.Error("a retry takes it, though nothing was mended")
				}
			}
			before := len(r.door.Exceptions)
			r.put(f.Name, b.Raw)
			r.looks()
			if len(r.door.Exceptions) != before {
				t.Errorf("the same file again makes another exception: %d", len(r.door.Exceptions))
			}
		})
	}
}

func (f *Fixture) cut(t *testing.T) {
	step := f.Cuts
	if step == 0 {
		step = 7
	}
	for n := 0; n < len(f.Good); n += step {
		r := open(t, f, t.TempDir(), &Door{})
		r.put(f.Name, f.Good[:n])
		r.looks()
		taken := r.door.Said()
		for _, s := range taken {
			if !slices.Contains(f.Said, s) {
				t.Fatalf("cut at byte %d it says %q, which the whole file does not", n, s)
			}
		}
		if len(taken) < len(f.Said) && len(r.door.Exceptions) == 0 {
			t.Fatalf("cut at byte %d: %d of %d documents are taken, and nobody is told", n, len(taken), len(f.Said))
		}
		r.put("whole-"+f.Name, f.Good)
		r.looks()
		got := r.door.Said()
		slices.Sort(got)
		want := slices.Sorted(slices.Values(f.Said))
		if !slices.Equal(got, want) {
			t.Fatalf("cut at byte %d, and then whole:\n\t%s", n, strings.Join(got, "\n\t"))
		}
	}
}

func (f *Fixture) grows(t *testing.T) {
	r := open(t, f, t.TempDir(), &Door{})
	half := len(f.Good) / 2
	r.put(f.Name+".tmp", f.Good)
	for n := half; n < len(f.Good); n += (len(f.Good)-half)/3 + 1 {
		r.put(f.Name, f.Good[:n])
		if err := r.drop.Look(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	r.put(f.Name, f.Good)
	if len(r.door.Events) != 0 || len(r.door.Exceptions) != 0 {
		t.Fatalf("taken while it grew: %q %v", r.door.Said(), r.door.Exceptions)
	}
	r.looks()
	f.compare(t, r.door.Said())
	if left := r.has(""); !slices.Equal(left, []string{f.Name + ".tmp"}) {
		t.Errorf("the folder holds %q", left)
	}
}

func (f *Fixture) crash(t *testing.T) {
	dir, door := t.TempDir(), &Door{}
	r := open(t, f, dir, door)
	r.put(f.Name, f.Good)
	door.Fail = errors.New("the ledger is away")
	r.looks() // the file is claimed, and the door does not take it
	if len(r.has("taken")) != 1 || len(door.Events) != 0 {
		t.Fatalf("taken holds %q, %d events", r.has("taken"), len(door.Events))
	}
	r = open(t, f, dir, door) // another process
	r.looks()
	f.compare(t, door.Said())
	if err := os.Rename(filepath.Join(dir, "done", f.Name), filepath.Join(dir, "taken", f.Name)); err != nil {
		t.Fatal(err)
	}
	open(t, f, dir, door).looks() // it died between the commit and the move
	f.compare(t, door.Said())
	if d := r.has("done"); len(d) != 1 {
		t.Errorf("done holds %q", d)
	}
}

func (f *Fixture) encodings(t *testing.T) {
	wide := []byte{0xFF, 0xFE}
	for _, c := range f.Good {
		wide = append(wide, c, 0)
	}
	for name, raw := range map[string][]byte{
		"UTF-16 with mark": wide, "UTF-16 without mark": wide[2:], "byte order mark": append([]byte{0xEF, 0xBB, 0xBF}, f.Good...), "zeros": make([]byte, 1000), "empty": {},
	} {
		r := open(t, f, t.TempDir(), &Door{})
		r.put(f.Name, raw)
		r.looks()
		if whole := slices.Equal(r.door.Said(), f.Said); !whole && (len(r.door.Events) > 0 || len(r.door.Exceptions) == 0) {
			t.Errorf("%s: neither taken as it is nor parked whole: %q, %d exceptions", name, r.door.Said(), len(r.door.Exceptions))
		}
	}
}

func (f *Fixture) shown(t *testing.T) {
	r := open(t, f, t.TempDir(), &Door{})
	r.put(f.Name, f.Good)
	if err := r.drop.Look(context.Background()); err != nil {
		t.Fatal(err)
	}
	c := r.desk.Connectors()
	if len(c) != 1 || c[0].Pending != 1 || c[0].Name != source || c[0].Direction != protocol.ConnectorIn {
		t.Fatalf("while it waits: %+v", c)
	}
	r.looks()
	for _, b := range f.Broken {
		r.put("broken-"+f.Name, b.Raw)
		r.looks()
		break
	}
	c = r.desk.Connectors()
	if c[0].Pending != 0 || c[0].In == 0 || c[0].InPerS == 0 || c[0].LastDocument == nil || len(f.Broken) > 0 && (c[0].Parked == 0 || c[0].LastError == nil) {
		t.Errorf("afterwards: %+v", c[0])
	}
}
