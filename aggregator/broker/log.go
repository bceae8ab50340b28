package broker

import (
	"context"
	"log/slog"

	"github.com/rs/zerolog"
)

// quiet routes the broker library's log into ours. The library logs whole
// packets, payloads and passwords included, under the keys pk and packet: they
// are dropped. Its warnings speak of single clients and become debug lines; a
// person must act on its errors only.
type quiet struct{ next slog.Handler }

func newLogger(log zerolog.Logger) *slog.Logger {
	return slog.New(quiet{zerolog.NewSlogHandler(log)})
}

func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return q.next.Enabled(ctx, lower(l))
}

func lower(l slog.Level) slog.Level {
	if l >= slog.LevelError {
		return l
	}
	return slog.LevelDebug
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, lower(r.Level), r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if shown(a) {
			out.AddAttrs(a)
		}
		return true
	})
	return q.next.Handle(ctx, out)
}

func shown(a slog.Attr) bool { return a.Key != "pk" && a.Key != "packet" }

func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler {
	kept := make([]slog.Attr, 0, len(attrs))
	for _, a := range attrs {
		if shown(a) {
			kept = append(kept, a)
		}
	}
	return quiet{q.next.WithAttrs(kept)}
}

func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.next.WithGroup(name)} }
