package deliver

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/federation"
)

// counted are the metrics that tell how often something was done, by what it is called here. They hardly depend on the machine.
var counted = []struct{ name, metric string }{
	{"messages hub to spoke", "nave_hub_link_sent_total"},
	{"messages spoke to hub", "nave_hub_link_received_total"},
	{"transactions of etcd", "nave_hub_commit_seconds_count"},
	{"transactions of the archive", "nave_hub_archive_seconds_count"},
	{"appends of the journal", "nave_spoke_journal_append_seconds_count"},
}

// floorCount is what the floor does of it for a signal: an append with a sync on each side, and a message.
const floorCount = 3

// wakes are how often threads of the programs slept and were woken.
const wakes = "wakes of threads"

// counters read the metrics of hub and spoke.
type counters struct {
	client *http.Client
	urls   []string
}

// trust lets the hub be asked.
func (c *counters) trust(pool *x509.CertPool) {
	c.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool}}}
}

// read sums the metrics up, over their labels.
func (c *counters) read(ctx context.Context) (map[string]float64, error) {
	sum := map[string]float64{}
	for _, url := range c.urls {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/metrics", nil)
		if err != nil {
			return nil, err
		}
		res, err := c.client.Do(req)
		if err != nil {
			return nil, err
		}
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), " ")
			name, _, _ = strings.Cut(name, "{")
			if v, err := strconv.ParseFloat(value[strings.LastIndexByte(value, ' ')+1:], 64); err == nil {
				sum[name] += v
			}
		}
		res.Body.Close()
	}
	return sum, nil
}

// counts are how often things were done, by name.
type counts map[string]float64

// count reads how often everything was done since the programs began.
func (w *world) count(ctx context.Context) (counts, error) {
	m, err := w.counters.read(ctx)
	if err != nil {
		return nil, err
	}
	c := counts{}
	for _, k := range counted {
		c[k.name] = m[k.metric]
	}
	for _, p := range federation.Naming(w.f.Path()) {
		c[wakes] += float64(woken(p.ID))
	}
	return c, nil
}

// woken is how often the threads of a process gave the processor back to wait. Of a process that has ended it is nothing.
func woken(pid int) (n int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		if _, rest, ok := strings.Cut(string(text), "\nvoluntary_ctxt_switches:"); ok {
			line, _, _ := strings.Cut(rest, "\n")
			v, _ := strconv.Atoi(strings.TrimSpace(line))
			n += v
		}
	}
	return n
}

// counting reports how often things were done per signal while a load ran.
func (w *world) counting(ctx context.Context, name string, load func() (signals int, err error)) error {
	before, err := w.count(ctx)
	if err != nil {
		return err
	}
	n, err := load()
	if err != nil {
		return err
	}
	after, err := w.count(ctx)
	if err != nil {
		return err
	}
	per, all := func(kind string) float64 { return (after[kind] - before[kind]) / float64(max(n, 1)) }, 0.0
	for _, k := range counted {
		w.b.Report(measure.Figure{Name: k.name + " per signal, " + name, Value: per(k.name)})
		all += per(k.name)
	}
	w.b.Report(measure.Figure{Name: "messages and syncs per signal, " + name, Value: all, Floor: floorCount, Gate: true})
	w.b.Report(measure.Figure{Name: wakes + " per signal, " + name, Value: per(wakes)})
	return nil
}
