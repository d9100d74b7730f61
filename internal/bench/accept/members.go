package accept

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/etcdtest"
)

// members measures hub and floor with one etcd of three members, each a process of its own.
func (w *world) members(ctx context.Context) error {
	const maxOps, maxBytes = 10_000, 8 << 20
	etcd, err := etcdtest.Start(ctx, etcdtest.Config{Dir: w.f.Path("members"), Program: []string{w.b.Self}, MaxTxnOps: maxOps, MaxRequestBytes: maxBytes})
	if err != nil {
		return err
	}
	w.close = append(w.close, etcd.Close)
	endpoints := strings.Join(etcd.Endpoints(), ",")
	p, err := w.start(ctx, "outside", fmt.Sprintf("etcd: {endpoints: [%s], max_txn_ops: %d, max_request_bytes: %d}\n", endpoints, maxOps, maxBytes), []string{"--endpoints", endpoints})
	if err != nil {
		return err
	}
	p.nave.store, p.floor.store = etcd.Endpoints(), etcd.Endpoints()
	const where = ", three members of etcd"
	if err := w.open(ctx, p, where, rate{perSecond: 1000}); err != nil {
		return err
	}
	return w.saturate(ctx, p, where, load{clients: 64, target: 5000})
}

// storeUse is what an etcd says of itself since it began.
type storeUse struct {
	seconds      float64 // of the processors, of all members
	transactions float64 // that were committed
}

// use asks the members of the target's etcd, by the metrics that every etcd serves.
func (t *target) use(ctx context.Context) (u storeUse, err error) {
	for _, member := range t.store {
		m, err := metricsOf(ctx, member)
		if err != nil {
			return u, err
		}
		u.seconds += m["process_cpu_seconds_total"]
		u.transactions = max(u.transactions, m["etcd_server_proposals_committed_total"]) // each of them counts all
	}
	return u, nil
}

func metricsOf(ctx context.Context, url string) (map[string]float64, error) {
	text, err := measure.Show(ctx, url+"/metrics")
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil { // else a comment
			out[name] = v
		}
	}
	for _, name := range []string{"process_cpu_seconds_total", "etcd_server_proposals_committed_total"} {
		if _, ok := out[name]; !ok {
			return nil, fmt.Errorf("%s does not say %s", url, name)
		}
	}
	return out, nil
}
