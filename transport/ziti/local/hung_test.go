package local

import (
	"os"
	"testing"
	"time"
)

// Silence counts while a process is ready and somebody looks.
func TestSilenceIsCounted(t *testing.T) {
	p := &process{cfg: childConfig{Home: t.TempDir()}}
	now := time.Now()
	for _, tt := range []struct {
		what string
		pass time.Duration
		word string // empty: the file is not there
		down bool
		want time.Duration
	}{
		{"a process that gives no signs", 5 * time.Second, "", false, 0},
		{"its first sign", 500 * time.Millisecond, "1", false, 0},
		{"silence", 500 * time.Millisecond, "1", false, 500 * time.Millisecond},
		{"more of it", 500 * time.Millisecond, "1", false, time.Second},
		{"nobody looked for a day", 24 * time.Hour, "1", false, 2 * time.Second},
		{"a sign", 500 * time.Millisecond, "2", false, 0},
		{"silence again", 500 * time.Millisecond, "2", false, 500 * time.Millisecond},
		{"while it does not serve", 500 * time.Millisecond, "2", true, 0},
	} {
		now = now.Add(tt.pass)
		_ = os.Remove(p.path("alive"))
		if tt.word != "" {
			if err := writeFile(p.path("alive"), []byte(tt.word)); err != nil {
				t.Fatal(err)
			}
		}
		p.ready = !tt.down
		p.listen(now)
		if p.silence != tt.want {
			t.Errorf("%s: silent for %v, want %v", tt.what, p.silence, tt.want)
		}
	}
	if p.silence = hungAfter; p.hung() {
		t.Error("hung before its time")
	}
	if p.silence++; !p.hung() {
		t.Error("not hung after its time")
	}
}
