package ziti

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
)

func TestSDKLogIsLevelledAndBounded(t *testing.T) {
	var b bytes.Buffer
	RouteLog(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})))
	defer RouteLog(slog.New(slog.DiscardHandler))
	logrus.Info("quiet")
	logrus.WithError(errors.New("EOF")).Error("failed to send close message") // an orderly end
	for range 5 * logPerSecond {
		logrus.WithError(errors.New("cause")).Error("loud")
	}
	out := b.String()
	if strings.Contains(out, "close message") {
		t.Error("the line about an orderly end passed")
	}
	if strings.Contains(out, "quiet") {
		t.Error("a line below Warn passed")
	}
	if !strings.Contains(out, "message=loud severity=error error=cause") || strings.Contains(out, "level=ERROR") {
		t.Errorf("the lines are not what the SDK said, at level Warn:\n%s", out)
	}
	// The lines may fall into two seconds.
	if n := strings.Count(out, "\n"); n < logPerSecond || n > 2*logPerSecond {
		t.Errorf("%d lines passed, want %d to %d", n, logPerSecond, 2*logPerSecond)
	}
}
