package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
)

// version of Nave, set by the linker.
var version = "dev"

const (
	// zitiVersion is the release of OpenZiti that the module pins.
	zitiVersion = "1.7.2"
	// shutdownBound is how long an orderly end may take before the process ends all the same.
	shutdownBound = 5 * time.Second
	// strayBytes bounds what the libraries print past the log.
	strayBytes = 1 << 20
)

// server is a controller or a router.
type server interface {
	// serve blocks from start to shutdown. It calls ready once, when the server was seen to serve.
	serve(ctx context.Context, ready func() error) error
	// healthy looks whether the server still serves, within two seconds.
	healthy(ctx context.Context) bool
	// shutdown ends serve in order.
	shutdown()
}

func main() {
	if err := command(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "nave-overlay:", err)
		os.Exit(1)
	}
}

func command(args []string) error {
	const usage = "usage: nave-overlay controller|router --config FILE, or nave-overlay version"
	if len(args) == 0 {
		return errors.New(usage)
	}
	fs := flag.NewFlagSet("nave-overlay "+args[0], flag.ContinueOnError)
	file := fs.String("config", "", "configuration `file` written by the parent")
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	if args[0] == "version" {
		fmt.Printf("nave-overlay %s, OpenZiti %s\n", version, zitiVersion)
		return nil
	}
	cfg, err := loadConfig(*file)
	if err != nil {
		return err
	}
	switch args[0] {
	case "controller":
		return run(cfg, newController(cfg))
	case "router":
		return run(cfg, newRouter(cfg))
	}
	return errors.New(usage)
}

// run is the life of the process around its server.
func run(cfg Config, s server) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	signal.Ignore(syscall.SIGHUP) // the terminal of a former parent
	if err := os.MkdirAll(cfg.Home, 0o700); err != nil {
		return err
	}
	lock, err := runLock(cfg.path("run.lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	_ = os.Remove(cfg.path("ready"))
	_ = os.Remove(cfg.path("alive"))
	if err := setUpLog(cfg); err != nil {
		return err
	}

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return watchLease(ctx, cfg.Lease, cfg.grace(), func() { capFile(os.Stdout, strayBytes); capFile(os.Stderr, strayBytes) })
	})
	life := &signs{path: cfg.path("alive")}
	g.Go(func() error { return life.run(ctx, s.healthy) })
	g.Go(func() error {
		err := s.serve(ctx, func() error {
			// The first sign of life, so that the parent expects further ones.
			return errors.Join(life.give(), writeFile(cfg.path("ready"), []byte(strconv.Itoa(os.Getpid()))))
		})
		if err == nil && ctx.Err() == nil {
			err = errors.New("the server ended by itself")
		}
		return err
	})
	<-ctx.Done()
	_ = os.Remove(cfg.path("ready"))
	bound := time.AfterFunc(shutdownBound, func() {
		logrus.Warn("orderly end takes too long, ending")
		os.Exit(0)
	})
	defer bound.Stop()
	s.shutdown()
	if err := g.Wait(); err != nil && !errors.Is(err, errNoParent) {
		logrus.WithError(err).Error("ended with an error")
		return err
	}
	return nil
}

func setUpLog(cfg Config) error {
	level, err := logrus.ParseLevel(cfg.LogLevel)
	if err != nil {
		return fmt.Errorf("log level: %w", err)
	}
	l, err := openLog(cfg.path("log"), cfg.LogBytes)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	logrus.SetOutput(l)
	logrus.SetLevel(level)
	logrus.SetFormatter(&logrus.TextFormatter{DisableColors: true, FullTimestamp: true, TimestampFormat: time.RFC3339Nano})
	return nil
}
