// ledger is a tool server: it speaks the Model Context Protocol over streamable HTTP, and runs in a container of its own beside the agent.
//
// It has two tools, enter and read, and keeps what was entered in its memory: it is forgotten when the container ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:7000", "host:port; on the loopback address nobody outside of the pod reaches it")
	flag.Parse()
	log.SetFlags(0)
	log.SetPrefix("ledger: ")
	owner := os.Getenv("LEDGER_OWNER") // for the server alone: the agent is not told
	if owner == "" {
		log.Fatal("LEDGER_OWNER is not set: whose ledger is it?")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	server := &http.Server{Addr: *listen, Handler: handler(owner), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// ledger is what was entered.
type ledger struct {
	owner string

	mu      sync.Mutex
	entries []string // guarded by mu
}

type entry struct {
	Text string `json:"text" jsonschema:"what is to be entered"`
}

// handler answers MCP at every path.
func handler(owner string) http.Handler {
	l := &ledger{owner: owner}
	server := mcp.NewServer(&mcp.Implementation{Name: "ledger", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "enter", Description: "Enters a line into the ledger."}, l.enter)
	mcp.AddTool(server, &mcp.Tool{Name: "read", Description: "Says what is in the ledger."}, l.read)
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil)
}

func (l *ledger) enter(_ context.Context, _ *mcp.CallToolRequest, e entry) (*mcp.CallToolResult, any, error) {
	if strings.TrimSpace(e.Text) == "" {
		return nil, nil, errors.New("the text is empty")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, e.Text)
	return say(fmt.Sprintf("entry %d of %s: %s", len(l.entries), l.owner, e.Text)), nil, nil
}

func (l *ledger) read(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return say(fmt.Sprintf("%d entries of %s\n%s", len(l.entries), l.owner, strings.Join(l.entries, "\n"))), nil, nil
}

func say(text string) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}
}
