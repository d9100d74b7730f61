package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
)

func TestLinesAreReadWhole(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for _, tc := range []struct {
		name, text, want string
	}{
		{"none", "", ""},
		{"no end", "a\nb", "1 a, 2 b, "},
		{"empty ones count", "a\n\n\nb\n", "1 a, 2 , 3 , 4 b, "},
		{"the longest", long[1:] + "\nb", fmt.Sprintf("1 %d, 2 b, ", maxLine-1)},
		{"too long", "a\n" + long + "y\nb\n", "1 a, 2 too long, 3 b, "},
		{"too long at the end", "a\n" + long + "y", "1 a, 2 too long, "},
	} {
		l := &lineReader{r: bufio.NewReaderSize(strings.NewReader(tc.text), 1<<16)}
		got := ""
		for {
			text, err := l.next()
			if err == io.EOF {
				break
			}
			said := strings.TrimSuffix(string(text), "\n")
			if len(said) > 100 {
				said = fmt.Sprint(len(said))
			}
			if errors.Is(err, errLongLine) {
				said = "too long"
			} else if err != nil {
				t.Fatal(err)
			}
			got += fmt.Sprintf("%d %s, ", l.number, said)
		}
		if got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestALongFileGoesInFewCalls(t *testing.T) {
	b := newBench(t)
	for i := range 250 {
		b.stdin += fmt.Sprintf(`{"agent": "writer", "key": "k%d", "text": "x", "idempotency_key": "i%d"}`+"\n", i%7, i)
	}
	b.stdin += strings.Repeat("x", maxLine+1) + "\n"
	out, errOut, code := b.nave("signal", "--file", "-")
	if out != "signals: 250 accepted, 0 duplicate, 1 refused\n" || code != exitFailure || !strings.HasPrefix(errOut, "line 251: is longer than") || b.hub.calls > 4 {
		t.Errorf("exit %d after %d calls: %q %q", code, b.hub.calls, out, errOut)
	}
	for i := range 250 {
		if a := b.hub.signals[fmt.Sprint("i", i)]; a.GetSequence() != uint64(i+1) {
			t.Fatalf("line %d is signal %d", i+1, a.GetSequence())
		}
	}
}

// slowLines gives one line at a time, and sees when the next one is asked for how many signals the hub has.
type slowLines struct {
	b     *bench
	lines int
	had   []int
}

func (r *slowLines) Read(p []byte) (int, error) {
	r.b.hub.mu.Lock()
	defer r.b.hub.mu.Unlock()
	if r.had = append(r.had, len(r.b.hub.signals)); len(r.had) > r.lines {
		return 0, io.EOF
	}
	return copy(p, `{"agent": "writer", "key": "k", "text": "x"}`+"\n"), nil
}

// What a slow writer has written is sent; what it writes later does not keep it waiting.
func TestLinesAreSentAsTheyCome(t *testing.T) {
	b := newBench(t)
	var out, errOut bytes.Buffer
	a, r := b.app(&out, &errOut), &slowLines{b: b, lines: 3}
	a.in = r
	if code := a.run(t.Context(), []string{"signal", "--file", "-"}); code != exitOK || fmt.Sprint(r.had) != "[0 1 2 3]" {
		t.Errorf("exit %d, the hub had %v signals when another line was asked for: %q %q", code, r.had, out.String(), errOut.String())
	}
}

func TestALongFileTellsHowFarItIs(t *testing.T) {
	b := newBench(t)
	line := `{"agent": "writer", "key": "k", "text": "x"}` + "\n"
	b.stdin = strings.Repeat(line, 2*api.MaxSignalsPerCall+1)
	var out, errOut bytes.Buffer
	a := b.app(&out, &errOut)
	now := testNow
	a.now = func() time.Time { now = now.Add(progressEvery / 2); return now }
	if code := a.run(t.Context(), []string{"signal", "--file", "-"}); code != exitOK || errOut.String() != "signals: 200 accepted, 0 duplicate, 0 refused so far\n" {
		t.Errorf("exit %d: %q %q", code, out.String(), errOut.String())
	}
}
