package etcdtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/nave-dev/nave/internal/run"
)

// MemberEnv holds the [Member] of a member's process, as JSON.
const MemberEnv = "NAVE_ETCDTEST_MEMBER"

const (
	startTimeout = 60 * time.Second // a loaded machine syncs slowly
	stopTimeout  = 10 * time.Second // then a member is killed
)

// Member is what one member's process is to be.
type Member struct {
	Name    string
	Dir     string // data directory
	Client  string // URL for clients
	Peer    string // URL for the other members
	Cluster string // name=peer URL of all members, with commas

	CertFile string // of the member towards clients, PEM; empty: plain http
	KeyFile  string
	CAFile   string // whose clients are let in; empty: all

	MaxTxnOps, MaxRequestBytes uint // 0: etcd's own
}

// Config configures a [Cluster].
type Config struct {
	Dir     string   // required: for data and logs, made when missing
	Program []string // required: command line that calls member.Main, such as the built cmd/member
	Members int      // default 3, 1 to 7

	MaxTxnOps, MaxRequestBytes uint // what a member takes in one transaction; 0: etcd's own

	// TLS towards clients, all three or none: the certificate must be good for 127.0.0.1, for servers and for clients.
	CertFile, KeyFile, CAFile string
}

// Cluster is a running etcd cluster. Its methods are called one after the other.
type Cluster struct {
	cfg     Config
	members []*process
	group   *run.Group
}

// process is one member.
type process struct {
	Member
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// Start runs all members and returns when each of them answers.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	if cfg.Members == 0 {
		cfg.Members = 3
	}
	if cfg.Dir == "" || len(cfg.Program) == 0 || cfg.Members < 1 || cfg.Members > 7 {
		return nil, errors.New("config of the etcd cluster: want a directory, a program and 1 to 7 members")
	}
	ports, err := freePorts(2 * cfg.Members)
	if err != nil {
		return nil, err
	}
	c := &Cluster{cfg: cfg, group: run.NewGroup(context.WithoutCancel(ctx))}
	scheme := "http"
	if cfg.CertFile != "" {
		scheme = "https"
	}
	var initial []string
	for i := range cfg.Members {
		p := &process{Member: Member{Name: fmt.Sprintf("m%d", i), Client: scheme + "://" + ports[2*i], Peer: "http://" + ports[2*i+1],
			CertFile: cfg.CertFile, KeyFile: cfg.KeyFile, CAFile: cfg.CAFile,
			MaxTxnOps: cfg.MaxTxnOps, MaxRequestBytes: cfg.MaxRequestBytes}}
		p.Dir = filepath.Join(cfg.Dir, p.Name)
		initial = append(initial, p.Name+"="+p.Peer)
		c.members = append(c.members, p)
	}
	for _, p := range c.members {
		p.Cluster = strings.Join(initial, ",")
		if err = c.launch(p); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	for i := range c.members {
		if err := c.await(ctx, i); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// freePorts returns addresses on loopback that nobody listened on a moment ago.
func freePorts(n int) ([]string, error) {
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }() // all at the end, so that they differ
		out = append(out, l.Addr().String())
	}
	return out, nil
}

func (c *Cluster) launch(p *process) error {
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return err
	}
	config, err := json.Marshal(p.Member)
	if err != nil {
		return err
	}
	logs, err := os.OpenFile(p.Dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = logs.Close() }() // the child has its own
	cmd := exec.Command(c.cfg.Program[0], c.cfg.Program[1:]...)
	cmd.Env = append(os.Environ(), MemberEnv+"="+string(config))
	cmd.Stdout, cmd.Stderr = logs, logs
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true} // the terminal's Ctrl-C is for who started us
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start etcd member %s: %w", p.Name, err)
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	c.group.Go("member "+p.Name, func(context.Context) error {
		defer close(done)
		_ = cmd.Wait() // how a member ended is in its log
		return nil
	})
	return nil
}

// await returns when a member answers a read that a majority confirmed; when fewer than a majority run, when it accepts
// connections.
func (c *Cluster) await(ctx context.Context, i int) error {
	p := c.members[i]
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not within %v", startTimeout))
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := c.ask(ctx, p)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.done:
			return fmt.Errorf("etcd member %s ended while it started, see %s.log", p.Name, p.Dir)
		case <-ctx.Done():
			return fmt.Errorf("etcd member %s does not answer, see %s.log: %w: %w", p.Name, p.Dir, context.Cause(ctx), err)
		}
	}
}

func (c *Cluster) ask(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", p.Client[strings.LastIndex(p.Client, "/")+1:])
	if err != nil {
		return err
	}
	_ = conn.Close()
	if c.running() <= len(c.members)/2 {
		return nil
	}
	t, err := c.ClientTLS()
	if err != nil {
		return err
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{p.Client}, TLS: t, DialTimeout: 2 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	_, err = client.Get(ctx, "\x00", clientv3.WithCountOnly())
	if errors.Is(err, rpctypes.ErrUserEmpty) || errors.Is(err, rpctypes.ErrPermissionDenied) {
		return nil // it answers; whom it lets in is not the question
	}
	return err
}

// ClientTLS is how clients connect; nil for plain http.
func (c *Cluster) ClientTLS() (*tls.Config, error) {
	if c.cfg.CertFile == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(c.cfg.CertFile, c.cfg.KeyFile)
	if err != nil {
		return nil, err
	}
	authority, err := os.ReadFile(c.cfg.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

func (c *Cluster) running() int {
	n := 0
	for _, p := range c.members {
		if p.runs() {
			n++
		}
	}
	return n
}

func (p *process) runs() bool {
	if p.done == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Endpoints are the members' URLs for clients, also of those that do not run.
func (c *Cluster) Endpoints() []string {
	var out []string
	for _, p := range c.members {
		out = append(out, p.Client)
	}
	return out
}

// Kill ends a member as a crash does, and returns when its process is gone.
func (c *Cluster) Kill(i int) error {
	p := c.members[i]
	if !p.runs() {
		return nil
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done // the kernel ends it
	return nil
}

// Start runs a member that was killed, on its data, and returns when it answers. While fewer than a majority of the members
// run it returns when it accepts connections.
func (c *Cluster) Start(ctx context.Context, i int) error {
	p := c.members[i]
	if p.runs() {
		return nil
	}
	if err := c.launch(p); err != nil {
		return err
	}
	return c.await(ctx, i)
}

// Freeze stops a member's process without ending it: it holds its connections and answers nothing.
func (c *Cluster) Freeze(i int) error { return c.members[i].cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw lets a frozen member go on.
func (c *Cluster) Thaw(i int) error { return c.members[i].cmd.Process.Signal(syscall.SIGCONT) }

// Close ends all members and waits for them. It may be called again.
func (c *Cluster) Close() error {
	for _, p := range c.members {
		if p.runs() {
			_ = p.cmd.Process.Signal(syscall.SIGTERM)
			_ = p.cmd.Process.Signal(syscall.SIGCONT)
		}
	}
	late := time.NewTimer(stopTimeout)
	defer late.Stop()
	for i, p := range c.members {
		if !p.runs() {
			continue
		}
		select {
		case <-p.done:
		case <-late.C:
			late.Reset(0) // the others had their time, too
			if err := c.Kill(i); err != nil {
				return err
			}
		}
	}
	return c.group.Wait()
}
