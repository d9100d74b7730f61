package floor

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/nave-dev/nave/internal/bench/measure"
)

// Printer is the name of the agent's program of the scenario events. It is no floor; floors print by the same plan.
const Printer = "events-agent"

func init() { programs[Printer] = printer }

// Plan says what a program prints.
type Plan struct {
	Lines int     `json:"lines"`
	Rate  float64 `json:"rate"`  // lines a second; 0: as fast as it can
	Burst int     `json:"burst"` // lines that are due at a time; 0 is 1
	Begin int64   `json:"begin"` // when the first one is due, in nanoseconds since 1970
	Bytes int     `json:"bytes"` // of a line
}

// Due is when line n is due, in nanoseconds since 1970; n is from 0. Without a rate a line is due when it is printed.
func (p Plan) Due(n int) int64 {
	if p.Rate == 0 {
		return max(p.Begin, time.Now().UnixNano())
	}
	burst := max(p.Burst, 1)
	return p.Begin + int64(float64(n/burst*burst)/p.Rate*1e9)
}

// Moment is a line that is due.
type Moment struct {
	N    int
	Due  int64         // in nanoseconds since 1970
	Late time.Duration // who waited for it woke so much later; Unknown when nobody waited, because lines before took longer
}

// Unknown says that nothing is known of how late a line was.
const Unknown = -1

// Line is a line, without its end.
func (p Plan) Line(b []byte, m Moment) []byte {
	begin := len(b)
	b = append(b, "line "...)
	b = strconv.AppendInt(b, int64(m.N), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, m.Due, 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(m.Late), 10)
	b = append(b, ' ')
	for len(b)-begin < p.Bytes {
		b = append(b, 'x')
	}
	return b
}

// ParseLine reads a line.
func ParseLine(text string) (m Moment, err error) {
	f := strings.SplitN(text, " ", 5)
	if len(f) < 4 || f[0] != "line" {
		return m, fmt.Errorf("%.40q is no line of the plan", text)
	}
	if m.N, err = strconv.Atoi(f[1]); err != nil {
		return m, err
	}
	if m.Due, err = strconv.ParseInt(f[2], 10, 64); err != nil {
		return m, err
	}
	late, err := strconv.ParseInt(f[3], 10, 64)
	m.Late = time.Duration(late)
	return m, err
}

// Print calls emit with the lines that are due, and lets it have them when no further one is.
func (p Plan) Print(ctx context.Context, emit func(Moment) error, flush func() error) error {
	pace, err := measure.NewPacer(ctx)
	if err != nil {
		return err
	}
	defer pace.Close()
	for n := 0; n < p.Lines; n++ {
		m := Moment{N: n, Due: p.Due(n), Late: Unknown}
		if due := time.Unix(0, m.Due); time.Until(due) > 0 {
			if err := flush(); err != nil {
				return err
			}
			if err := pace.Until(due); err != nil {
				return err
			}
			m.Late = max(0, time.Since(due))
		}
		if err := emit(m); err != nil {
			return err
		}
	}
	return flush()
}

// printer is an agent of the command protocol: its signals are plans.
func printer(ctx context.Context, _ []string) error {
	in, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	var request struct {
		Signals []struct {
			Payload string `json:"payload"`
		} `json:"signals"`
	}
	if err := json.Unmarshal(in, &request); err != nil {
		return err
	}
	out := bufio.NewWriterSize(os.Stdout, 32<<10)
	for _, s := range request.Signals {
		var p Plan
		if err := json.Unmarshal([]byte(s.Payload), &p); err != nil {
			return err
		}
		var line []byte
		err := p.Print(ctx, func(m Moment) error {
			line = append(p.Line(line[:0], m), '\n')
			_, err := out.Write(line)
			return err
		}, out.Flush)
		if err != nil {
			return err
		}
	}
	return nil
}
