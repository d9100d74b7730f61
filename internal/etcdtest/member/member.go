package member

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/nave-dev/nave/hub/store/zaplog"
	"github.com/nave-dev/nave/internal/etcdtest"
)

// Main runs a member and ends the process, when the environment holds one. Otherwise it returns: a test binary calls it first
// and is its own cluster then.
func Main() {
	text := os.Getenv(etcdtest.MemberEnv)
	if text == "" {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	var m etcdtest.Member
	err := json.Unmarshal([]byte(text), &m)
	if err == nil {
		err = serve(ctx, m)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcd member:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(ctx context.Context, m etcdtest.Member) error {
	client, err1 := url.Parse(m.Client)
	peer, err2 := url.Parse(m.Peer)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	c := embed.NewConfig()
	c.Name, c.Dir, c.InitialCluster, c.InitialClusterToken = m.Name, m.Dir, m.Cluster, "nave-test"
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	if m.CertFile != "" {
		c.ClientTLSInfo = transport.TLSInfo{CertFile: m.CertFile, KeyFile: m.KeyFile, TrustedCAFile: m.CAFile, ClientCertAuth: m.CAFile != ""}
	}
	if m.MaxTxnOps > 0 {
		c.MaxTxnOps = m.MaxTxnOps
	}
	if m.MaxRequestBytes > 0 {
		c.MaxRequestBytes = m.MaxRequestBytes
	}
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zaplog.New(slog.New(slog.NewTextHandler(os.Stderr, nil))))
	e, err := embed.StartEtcd(c)
	if err != nil {
		return err
	}
	defer e.Close()
	select {
	case <-ctx.Done():
		return nil
	case err := <-e.Err():
		return err
	}
}
