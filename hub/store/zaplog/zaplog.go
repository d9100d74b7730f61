package zaplog

import (
	"context"
	"log/slog"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// New makes a logger of etcd's that hands records to log. Records whose text is one of quiet are dropped: they warn about
// what is so by intention.
func New(log *slog.Logger, quiet ...string) *zap.Logger {
	return zap.New(core{log.Handler(), quiet}, zap.AddStacktrace(zap.DPanicLevel))
}

// core hands etcd's log records to slog, warnings and worse only. Records of etcd are for its operators: its errors are
// warnings of ours.
type core struct {
	h     slog.Handler
	quiet []string
}

// Enabled implements [zapcore.LevelEnabler].
func (c core) Enabled(l zapcore.Level) bool {
	return l >= zapcore.WarnLevel && c.h.Enabled(context.Background(), slog.LevelWarn)
}

// With implements [zapcore.Core].
func (c core) With(fields []zapcore.Field) zapcore.Core {
	return core{c.h.WithAttrs(attrs(fields)), c.quiet}
}

// Check implements [zapcore.Core].
func (c core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) && !slices.Contains(c.quiet, e.Message) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write implements [zapcore.Core].
func (c core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	r := slog.NewRecord(e.Time, slog.LevelWarn, "etcd", 0)
	r.AddAttrs(slog.String("text", e.Message))
	r.AddAttrs(attrs(fields)...)
	return c.h.Handle(context.Background(), r)
}

// Sync implements [zapcore.Core].
func (c core) Sync() error { return nil }

func attrs(fields []zapcore.Field) []slog.Attr {
	enc := zapcore.NewMapObjectEncoder()
	out := make([]slog.Attr, 0, len(fields))
	for _, f := range fields {
		f.AddTo(enc)
		if v, ok := enc.Fields[f.Key]; ok {
			out = append(out, slog.Any(f.Key, v))
		}
	}
	return out
}
