package ziti

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
)

// logPerSecond bounds the lines of the SDK that pass; the next line that passes says how many did not.
const logPerSecond = 10

// closeLine is what the SDK says at the end of a connection whose router or peer is gone already. That is the ordinary case.
const closeLine = "failed to send close message"

var (
	sdkLog     atomic.Pointer[slog.Logger]
	sdkLogOnce sync.Once
)

// RouteLog directs what the OpenZiti SDK logs, from level Warn on, to log. The SDK has one logger for the process, so the
// last call counts. OpenNode and Login call it.
func RouteLog(log *slog.Logger) {
	sdkLog.Store(log)
	sdkLogOnce.Do(func() {
		logrus.SetOutput(io.Discard)
		logrus.SetLevel(logrus.WarnLevel)
		logrus.AddHook(&slogHook{})
	})
}

// slogHook hands lines of logrus to slog. Their severity is capped at Warn: what an SDK calls an error is for us to judge.
type slogHook struct {
	mu      sync.Mutex
	second  time.Time // start of the present second; guarded by mu
	passed  int       // lines in it; guarded by mu
	dropped int       // since the last line that passed; guarded by mu
}

// Levels implements logrus.Hook.
func (h *slogHook) Levels() []logrus.Level { return logrus.AllLevels[:logrus.WarnLevel+1] }

// Fire implements logrus.Hook.
func (h *slogHook) Fire(e *logrus.Entry) error {
	if e.Message == closeLine {
		return nil
	}
	dropped, ok := h.admit(e.Time)
	log := sdkLog.Load()
	if !ok || log == nil {
		return nil
	}
	attrs := []slog.Attr{slog.String("message", e.Message), slog.String("severity", e.Level.String())}
	if err, ok := e.Data[logrus.ErrorKey]; ok {
		attrs = append(attrs, slog.Any("error", err))
	}
	if dropped > 0 {
		attrs = append(attrs, slog.Int("dropped", dropped))
	}
	log.LogAttrs(context.Background(), slog.LevelWarn, "overlay sdk", attrs...)
	return nil
}

func (h *slogHook) admit(now time.Time) (dropped int, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d := now.Sub(h.second); d >= time.Second || d < 0 {
		h.second, h.passed = now, 0
	}
	if h.passed++; h.passed > logPerSecond {
		h.dropped++
		return 0, false
	}
	dropped, h.dropped = h.dropped, 0
	return dropped, true
}
