package main

import (
	"net/http/httptest"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// TestLedger asks the server as an agent does.
func TestLedger(t *testing.T) {
	server := httptest.NewServer(handler("the office"))
	defer server.Close()
	c, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: server.URL}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, tt := range []struct {
		tool, text string
		want       string
		failed     bool
	}{
		{tool: "read", want: "0 entries of the office\n"},
		{tool: "enter", text: "tea", want: "entry 1 of the office: tea"},
		{tool: "enter", text: " ", want: "the text is empty", failed: true},
		{tool: "enter", text: "milk", want: "entry 2 of the office: milk"},
		{tool: "read", want: "2 entries of the office\ntea\nmilk"},
	} {
		arguments := map[string]any{}
		if tt.tool == "enter" {
			arguments["text"] = tt.text
		}
		r, err := c.CallTool(t.Context(), &mcp.CallToolParams{Name: tt.tool, Arguments: arguments})
		if err != nil {
			t.Fatalf("%s %q: %v", tt.tool, tt.text, err)
		}
		text, ok := r.Content[0].(*mcp.TextContent)
		if !ok || text.Text != tt.want || r.IsError != tt.failed {
			t.Errorf("%s %q says %v, failed %v; want %q, %v", tt.tool, tt.text, r.Content, r.IsError, tt.want, tt.failed)
		}
	}
}
