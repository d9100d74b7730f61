package postgrestest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"

	"github.com/nave-dev/nave/internal/run"
)

const (
	startTimeout = 60 * time.Second // a loaded machine syncs slowly, and after a kill there is a recovery
	stopTimeout  = 10 * time.Second // then it is killed
)

// superuser is the name of the server's first user.
const superuser = "nave"

// Config configures a [Server].
type Config struct {
	Bin      string // required: folder with the programs postgres and initdb
	Parent   string // where the server's folder is made; default /tmp: paths of sockets are short, and another user must get in
	RunAs    string // system user when this process is root's; default postgres
	Password string // of the user nave; empty: everybody on the socket is let in
}

// Server is a PostgreSQL server. Its methods are called one after the other.
type Server struct {
	cfg   Config
	dir   string
	attr  syscall.SysProcAttr
	cmd   *exec.Cmd
	done  chan struct{} // closed when the process has ended
	group *run.Group
}

// Start makes a server and returns when it answers.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Bin == "" {
		return nil, errors.New("config of PostgreSQL: the folder of its programs is missing")
	}
	if cfg.Parent == "" {
		cfg.Parent = "/tmp"
	}
	if cfg.RunAs == "" {
		cfg.RunAs = "postgres"
	}
	dir, err := os.MkdirTemp(cfg.Parent, "nave-pg-")
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, dir: dir, attr: syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT, Setpgid: true}, group: run.NewGroup(context.WithoutCancel(ctx))}
	err = s.own()
	if err == nil {
		err = s.init(ctx)
	}
	if err == nil {
		err = s.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// own gives the folder to the user that the server runs as.
func (s *Server) own() error {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup(s.cfg.RunAs)
	if err != nil {
		return err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	s.attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(s.dir, int(uid), int(gid))
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }
func (s *Server) log() string  { return filepath.Join(s.dir, "log") }

func (s *Server) init(ctx context.Context) error {
	args := []string{"-D", s.data(), "-U", superuser, "-E", "UTF8", "--locale=C", "-A", "trust"}
	if s.cfg.Password != "" {
		file := filepath.Join(s.dir, "password")
		if err := os.WriteFile(file, []byte(s.cfg.Password), 0o600); err != nil {
			return err
		}
		if c := s.attr.Credential; c != nil {
			if err := os.Chown(file, int(c.Uid), int(c.Gid)); err != nil {
				return err
			}
		}
		args = append(args[:len(args)-1], "scram-sha-256", "--pwfile="+file)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.cfg.Bin, "initdb"), args...)
	attr := s.attr
	cmd.SysProcAttr, cmd.Dir = &attr, s.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

// Start runs the server on its data, if it does not run, and returns when it answers. After [Server.Kill] it recovers first.
func (s *Server) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not within %v", startTimeout))
	defer cancel()
	db, err := sql.Open("pgx", s.DSN("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		// It ends again while the kernel still clears the memory of the one that was killed.
		if !s.runs() {
			if err := s.launch(); err != nil {
				return err
			}
		}
		err := db.PingContext(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			text, _ := os.ReadFile(s.log())
			return fmt.Errorf("PostgreSQL does not answer: %w: %w\n%s", context.Cause(ctx), err, text[max(0, len(text)-4096):])
		}
	}
}

func (s *Server) launch() error {
	logs, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = logs.Close() }() // the child has its own
	cmd := exec.Command(filepath.Join(s.cfg.Bin, "postgres"), "-D", s.data(), "-c", "listen_addresses=", "-c", "unix_socket_directories="+s.dir)
	attr := s.attr
	cmd.SysProcAttr, cmd.Dir, cmd.Stdout, cmd.Stderr = &attr, s.dir, logs, logs
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	done := make(chan struct{})
	s.cmd, s.done = cmd, done
	s.group.Go("postgres", func(context.Context) error {
		defer close(done)
		_ = cmd.Wait() // how it ended is in its log
		return nil
	})
	return nil
}

func (s *Server) runs() bool {
	if s.done == nil {
		return false
	}
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// DSN is the connection string of a database, for the user nave.
func (s *Server) DSN(database string) string {
	who := url.User(superuser)
	if s.cfg.Password != "" {
		who = url.UserPassword(superuser, s.cfg.Password)
	}
	u := url.URL{Scheme: "postgres", User: who, Path: "/" + database, RawQuery: url.Values{"host": {s.dir}}.Encode()}
	return u.String()
}

// Create makes an empty database.
func (s *Server) Create(ctx context.Context, database string) error {
	return s.Exec(ctx, `CREATE DATABASE "`+strings.ReplaceAll(database, `"`, `""`)+`"`)
}

// Exec runs a statement in the database postgres.
func (s *Server) Exec(ctx context.Context, statement string) error {
	db, err := sql.Open("pgx", s.DSN("postgres"))
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, statement)
	return errors.Join(err, db.Close())
}

// Kill ends the server and all its processes as a power failure does, and returns when they are gone.
func (s *Server) Kill() error {
	if !s.runs() {
		return nil
	}
	children := childrenOf(s.cmd.Process.Pid) // each has a process group of its own
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	for _, id := range children {
		if err := syscall.Kill(id, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	<-s.done // the kernel ends it
	return nil
}

// childrenOf returns the processes whose parent is one.
func childrenOf(parent int) []int {
	var out []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // it has ended
		}
		// The second field is the program's name in brackets and may hold anything; the parent is the second after it.
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(f) > 1 && f[1] == strconv.Itoa(parent) {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// Close ends the server, waits for it, and removes its folder. It may be called again.
func (s *Server) Close() error {
	if s.runs() {
		_ = s.cmd.Process.Signal(syscall.SIGINT) // ends connections
		late := time.NewTimer(stopTimeout)
		select {
		case <-s.done:
		case <-late.C:
			if err := s.Kill(); err != nil {
				return err
			}
		}
		late.Stop()
	}
	return errors.Join(s.group.Wait(), os.RemoveAll(s.dir))
}
