package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/openziti/edge-api/rest_management_api_client/edge_router"
	"github.com/openziti/edge-api/rest_model"
	"github.com/openziti/edge-api/rest_util"
	edgeapis "github.com/openziti/sdk-golang/edge-apis"
	"github.com/openziti/sdk-golang/ziti"
	zitiversion "github.com/openziti/ziti/common/version"
	"github.com/openziti/ziti/router"
	"github.com/openziti/ziti/router/enroll"
	"github.com/openziti/ziti/router/env"
)

// Two routers link to each other, so that a dialer on one reaches a host on the other.
const routerYAML = `v: 3
identity:
  cert: "{HOME}/router.cert"
  server_cert: "{HOME}/router.server.chain.cert"
  key: "{HOME}/router.key"
  ca: "{HOME}/router.cas"
ctrl:
  endpoint: tls:{CTRL}
link:
  dialers:
    - binding: transport
  listeners:
    - binding: transport
      bind: tls:{LINK}
      advertise: tls:{LINK}
listeners:
  - binding: edge
    address: tls:{BIND}
    options:
      advertise: {EDGE}
edge:
  csr:
    country: XX
    province: XX
    locality: XX
    organization: nave
    organizationalUnit: nave
    sans:
      dns: [{NAMES}]
      ip: [{IPS}]
`

// routerServer is one OpenZiti edge router.
type routerServer struct {
	cfg    Config
	router atomic.Pointer[router.Router]
}

func newRouter(cfg Config) *routerServer { return &routerServer{cfg: cfg} }

func (r *routerServer) serve(ctx context.Context, ready func() error) error {
	names, ips := r.cfg.sans()
	yaml := strings.NewReplacer("{HOME}", r.cfg.Home, "{NAMES}", quoted(names), "{IPS}", quoted(ips), "{BIND}", r.cfg.bind(r.cfg.Port),
		"{EDGE}", r.cfg.advertised(r.cfg.Port), "{LINK}", r.cfg.near(r.cfg.LinkPort), "{CTRL}", r.cfg.near(r.cfg.ControllerPort)).Replace(routerYAML)
	if err := writeFile(r.cfg.path("router.yaml"), []byte(yaml)); err != nil {
		return err
	}
	if _, err := os.Stat(r.cfg.path("enrolled")); errors.Is(err, os.ErrNotExist) {
		if err := r.enroll(ctx); err != nil {
			return fmt.Errorf("enroll router: %w", err)
		}
	} else if err != nil {
		return err
	}
	cfg, err := env.LoadConfig(r.cfg.path("router.yaml"))
	if err != nil {
		return fmt.Errorf("load router configuration: %w", err)
	}
	rt := router.Create(cfg, zitiversion.GetCmdBuildInfo())
	if err := rt.Start(); err != nil {
		return fmt.Errorf("start router: %w", err)
	}
	r.router.Store(rt)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for rt.GetNetworkControllers().AnyValidCtrlChannel() == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	if err := ready(); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// sans are the names that the router's certificate is for.
func (c Config) sans() (names, ips []string) {
	names, ips = []string{"localhost"}, []string{"127.0.0.1"}
	for _, h := range []string{c.Address, c.host()} {
		switch ip := net.ParseIP(h); {
		case ip == nil:
			names = append(names, h)
		case !ip.IsUnspecified() && !slices.Contains(ips, h):
			ips = append(ips, h)
		}
	}
	return names, ips
}

// quoted renders the items of a list of YAML.
func quoted(items []string) string {
	var out []string
	for _, i := range items {
		out = append(out, strconv.Quote(i))
	}
	return strings.Join(out, ", ")
}

// healthy implements server. It shows that the process runs: the router tells nothing of itself, and a look at its listener
// from outside would be a complaint in its log each time.
func (r *routerServer) healthy(context.Context) bool { return r.router.Load() != nil }

func (r *routerServer) shutdown() {
	if rt := r.router.Load(); rt != nil {
		_ = rt.Shutdown()
	}
}

// enroll gives the router its identity. It waits for the controller, whose first start may be going on.
func (r *routerServer) enroll(ctx context.Context) error {
	caFile := filepath.Join(r.cfg.ControllerHome, "pki", "ca.pem")
	if err := awaitFile(ctx, filepath.Join(r.cfg.ControllerHome, "ready")); err != nil {
		return err
	}
	client, err := pinnedClient(caFile)
	if err != nil {
		return err
	}
	addr := r.cfg.near(r.cfg.ControllerPort)
	if err := awaitController(ctx, client, addr); err != nil {
		return err
	}
	adm, err := readAdmin(filepath.Join(r.cfg.ControllerHome, "admin.json"))
	if err != nil {
		return err
	}
	token, err := routerToken("https://"+addr, caFile, adm, r.cfg.Name)
	if err != nil {
		return fmt.Errorf("enter router: %w", rest_util.WrapErr(err))
	}
	for _, name := range []string{"router.cert", "router.server.chain.cert", "router.key", "router.cas"} {
		if err := os.Remove(r.cfg.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	cfg, err := env.LoadConfigWithOptions(r.cfg.path("router.yaml"), false)
	if err != nil {
		return err
	}
	var alg ziti.KeyAlgVar
	if err := alg.Set("EC"); err != nil {
		return err
	}
	if err := enroll.NewRestEnroller(cfg).Enroll([]byte(token), true, "", alg); err != nil {
		return err
	}
	return writeFile(r.cfg.path("enrolled"), nil)
}

// routerToken enters the router at the controller, in place of one of the same name that never came to serve.
func routerToken(ctrl, caFile string, adm admin, name string) (string, error) {
	pool, err := loadPool(caFile)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(ctrl + "/edge/management/v1")
	if err != nil {
		return "", err
	}
	c := edgeapis.NewManagementApiClient([]*url.URL{u}, pool, nil)
	cred := edgeapis.NewUpdbCredentials(adm.User, adm.Password)
	cred.CaPool = pool
	if _, err := c.Authenticate(cred, nil); err != nil {
		return "", err
	}
	filter := fmt.Sprintf("name=%q", name)
	old, err := c.API.EdgeRouter.ListEdgeRouters(&edge_router.ListEdgeRoutersParams{Filter: &filter}, nil)
	if err != nil {
		return "", err
	}
	for _, d := range old.Payload.Data {
		if _, err := c.API.EdgeRouter.DeleteEdgeRouter(&edge_router.DeleteEdgeRouterParams{ID: *d.ID}, nil); err != nil {
			return "", err
		}
	}
	made, err := c.API.EdgeRouter.CreateEdgeRouter(&edge_router.CreateEdgeRouterParams{EdgeRouter: &rest_model.EdgeRouterCreate{
		Name: &name, RoleAttributes: &rest_model.Attributes{"nave"},
	}}, nil)
	if err != nil {
		return "", err
	}
	d, err := c.API.EdgeRouter.DetailEdgeRouter(&edge_router.DetailEdgeRouterParams{ID: made.Payload.Data.ID}, nil)
	if err != nil {
		return "", err
	}
	if d.Payload.Data.EnrollmentJWT == nil {
		return "", errors.New("the controller gave no enrolment token")
	}
	return *d.Payload.Data.EnrollmentJWT, nil
}

// awaitFile waits until path exists.
func awaitFile(ctx context.Context, path string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("ended before %s appeared", path)
		case <-tick.C:
		}
	}
}
