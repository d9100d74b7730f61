package harness

import (
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// lines gives one line per millisecond.
type ticking struct{ last time.Time }

func (r *ticking) Read(b []byte) (int, error) {
	time.Sleep(time.Until(r.last.Add(time.Millisecond)))
	n := 0
	for now := time.Now(); !r.last.Add(time.Millisecond).After(now); n++ {
		b[n] = '\n'
		r.last = r.last.Add(time.Millisecond)
	}
	return n, nil
}

// A line after a pause is read at once; of many lines in a row several come with each read.
func TestReadsOfManyLinesGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &calm{r: &ticking{last: time.Now()}}
		b := make([]byte, 100)
		var sizes []int
		for range 5 {
			n, err := c.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			sizes = append(sizes, n)
		}
		if sizes[0] != 1 || sizes[4] != int(readPace/time.Millisecond) {
			t.Errorf("lines by read: %v, want 1 first and %d in the end", sizes, readPace/time.Millisecond)
		}
		time.Sleep(10 * readPace)
		began := time.Now()
		c.fast = false // a pause ends with a read that waited for the agent
		r, w := io.Pipe()
		c.r, c.last = r, time.Now().Add(-10*readPace)
		time.AfterFunc(0, func() { w.Write([]byte("one\n")) })
		if _, err := c.Read(b); err != nil || time.Since(began) != 0 || c.fast {
			t.Errorf("after a pause: read after %v, %v; the next one waits: %v", time.Since(began), err, c.fast)
		}
		time.AfterFunc(0, func() { w.Write(make([]byte, 100)); w.Close() })
		io.ReadAll(c)
	})
}
