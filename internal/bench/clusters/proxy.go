package clusters

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/nave-dev/nave/internal/run"
)

// asked is one request to the API server.
type asked struct {
	at       time.Time
	verb     string // as the API server calls it: get, list, watch, create, update, patch, delete
	resource string // with a slash and the subresource, if there is one
	selector string
	agent    string // who asked
}

// writes reports whether it changes something.
func (a asked) writes() bool { return !slices.Contains([]string{"get", "list", "watch"}, a.verb) }

// proxy stands between a spoke and the API server and notes what is asked. It listens on loopback and asks with the administrator's
// rights.
type proxy struct {
	Kubeconfig string // that leads here

	mu  sync.Mutex
	all []asked
}

// newProxy serves until the group ends.
func newProxy(g *run.Group, to *rest.Config, dir string) (*proxy, error) {
	transport, err := rest.TransportFor(to)
	if err != nil {
		return nil, err
	}
	target, err := url.Parse(to.Host)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{Kubeconfig: filepath.Join(dir, "proxy.kubeconfig")}
	forward := &httputil.ReverseProxy{Transport: transport, FlushInterval: -1, // watches are shown at once
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.note(r)
		defer func() { _ = recover() }() // a watch whose client has gone; the server would print it
		forward.ServeHTTP(w, r)
	})}
	g.Go("serve the proxy", func(context.Context) error {
		_ = server.Serve(l) // until it is closed
		return nil
	})
	g.Go("end the proxy", func(ctx context.Context) error {
		<-ctx.Done()
		return server.Close()
	})
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: "http://" + l.Addr().String()}
	config.Contexts["c"] = &clientcmdapi.Context{Cluster: "c"}
	config.CurrentContext = "c"
	text, err := clientcmd.Write(*config)
	if err != nil {
		return nil, err
	}
	return p, os.WriteFile(p.Kubeconfig, text, 0o600)
}

func (p *proxy) note(r *http.Request) {
	a := requestOf(r.Method, r.URL)
	a.at, a.agent = time.Now(), r.UserAgent()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, a)
}

// between are the requests of a time.
func (p *proxy) between(from, to time.Time) (out []asked) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.all {
		if !a.at.Before(from) && a.at.Before(to) {
			out = append(out, a)
		}
	}
	return out
}

// requestOf says what is asked by a method and an address: /api/v1 or /apis/GROUP/VERSION, then namespaces/NAME if there is one, then
// the resource, a name and a subresource.
func requestOf(method string, u *url.URL) asked {
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	skip := map[string]int{"api": 2, "apis": 3}[parts[0]]
	if skip == 0 || len(parts) <= skip {
		return asked{verb: strings.ToLower(method), resource: u.Path}
	}
	parts = parts[skip:]
	if parts[0] == "namespaces" && len(parts) > 2 {
		parts = parts[2:]
	}
	a := asked{resource: parts[0], selector: u.Query().Get("labelSelector")}
	named := len(parts) > 1
	if len(parts) > 2 {
		a.resource += "/" + parts[2]
	}
	switch {
	case method == http.MethodGet && u.Query().Get("watch") != "":
		a.verb = "watch"
	case method == http.MethodGet && !named:
		a.verb = "list"
	case method == http.MethodDelete && !named:
		a.verb = "deletecollection"
	default:
		a.verb = map[string]string{"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[method]
	}
	return a
}

// kinds counts requests by verb and resource.
func kinds(of []asked) map[string]int {
	out := map[string]int{}
	for _, a := range of {
		out[a.verb+" "+a.resource]++
	}
	return out
}

// unselected are the lists and watches without a selector.
func unselected(of []asked) (out []string) {
	for _, a := range of {
		if (a.verb == "list" || a.verb == "watch") && a.selector == "" {
			out = append(out, fmt.Sprintf("%s %s", a.verb, a.resource))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
