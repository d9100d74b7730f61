// Command bare is the floor of a spoke's memory: a program of grpc-go and the OpenZiti SDK with one connection to a hub, and
// nothing else. It is a program of its own, since what else is linked into a program is in its memory too.
//
// The way of a run: bare IDENTITY SERVICE makes a context of the SDK, connects to the service over it, prints a line, and holds
// the connection until its standard input ends. For each line there it prints how many bytes of objects and stacks live.
//
// It must not import anything of Nave. It starts no goroutines of its own.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/openziti/sdk-golang/ziti"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: bare IDENTITY SERVICE")
		os.Exit(2)
	}
	if err := hold(context.Background(), os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1)
	}
}

// hold connects to a service by an identity and holds the connection. It prints a line when that is there.
func hold(ctx context.Context, identity, service string) error {
	text, err := os.ReadFile(identity)
	if err != nil {
		return err
	}
	var cfg ziti.Config
	if err := json.Unmarshal(text, &cfg); err != nil {
		return err
	}
	cert, err := tls.X509KeyPair([]byte(strings.TrimPrefix(cfg.ID.Cert, "pem:")), []byte(strings.TrimPrefix(cfg.ID.Key, "pem:")))
	if err != nil {
		return err
	}
	overlay, err := ziti.NewContext(&cfg)
	if err != nil {
		return err
	}
	defer overlay.Close()
	cc, err := grpc.NewClient("passthrough:///hub",
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true})), // a floor proves nothing
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return overlay.DialContext(ctx, service) }),
		grpc.WithIdleTimeout(0))
	if err != nil {
		return err
	}
	defer cc.Close()
	within, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for cc.Connect(); ; {
		s := cc.GetState()
		if s == connectivity.Ready {
			break
		}
		if !cc.WaitForStateChange(within, s) {
			return fmt.Errorf("no connection to the hub: %s", s)
		}
	}
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin) // until it is told to end
	for lines.Scan() {
		runtime.GC()
		runtime.GC() // pools keep what they have over one collection
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Println(m.HeapAlloc + m.StackInuse)
	}
	return lines.Err()
}
