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

// Line is line n, without its end.
func (p Plan) Line(b []byte, n int, due int64) []byte {
	begin := len(b)
	b = append(b, "line "...)
	b = strconv.AppendInt(b, int64(n), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, due, 10)
	b = append(b, ' ')
	for len(b)-begin < p.Bytes {
		b = append(b, 'x')
	}
	return b
}

// ParseLine reads a line: its number and when it was due.
func ParseLine(text string) (n int, due int64, err error) {
	f := strings.SplitN(text, " ", 4)
	if len(f) < 3 || f[0] != "line" {
		return 0, 0, fmt.Errorf("%.40q is no line of the plan", text)
	}
	if n, err = strconv.Atoi(f[1]); err != nil {
		return 0, 0, err
	}
	due, err = strconv.ParseInt(f[2], 10, 64)
	return n, due, err
}

// Print calls emit with the lines that are due, and lets it have them when no further one is.
func (p Plan) Print(ctx context.Context, emit func(n int, due int64) error, flush func() error) error {
	for n := 0; n < p.Lines; n++ {
		due := p.Due(n)
		if wait := time.Until(time.Unix(0, due)); wait > 0 {
			if err := flush(); err != nil {
				return err
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if err := emit(n, due); err != nil {
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
		err := p.Print(ctx, func(n int, due int64) error {
			line = append(p.Line(line[:0], n, due), '\n')
			_, err := out.Write(line)
			return err
		}, out.Flush)
		if err != nil {
			return err
		}
	}
	return nil
}
