package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/openziti/storage/boltz"
	zitiversion "github.com/openziti/ziti/common/version"
	fabric "github.com/openziti/ziti/controller"
	"github.com/openziti/ziti/controller/config"
	edge "github.com/openziti/ziti/controller/server"
	"golang.org/x/sync/errgroup"
)

const controllerYAML = `v: 3
db: "{HOME}/ctrl.db"
identity:
  cert: "{HOME}/pki/client.chain.pem"
  server_cert: "{HOME}/pki/server.chain.pem"
  key: "{HOME}/pki/server.key"
  ca: "{HOME}/pki/root.cert"
ctrl:
  listener: tls:{BIND}
  options:
    advertiseAddress: tls:{ADDR}
edge:
  api:
    sessionTimeout: 30m
    address: {ADDR}
  enrollment:
    signingCert:
      cert: "{HOME}/pki/signer.cert"
      key: "{HOME}/pki/signer.key"
    edgeIdentity: {duration: 180m}
    edgeRouter: {duration: 180m}
web:
  - name: all
    bindPoints:
      - interface: {BIND}
        address: {ADDR}
    options: {minTLSVersion: TLS1.2, maxTLSVersion: TLS1.3}
    apis:
      - binding: edge-management
      - binding: edge-client
      - binding: edge-oidc
      - binding: fabric
`

// controllerServer is the OpenZiti controller: the network's fabric and its edge.
type controllerServer struct {
	cfg  Config
	edge *edge.Controller
}

func newController(cfg Config) *controllerServer { return &controllerServer{cfg: cfg} }

func (c *controllerServer) serve(ctx context.Context, ready func() error) error {
	if err := ensurePKI(c.cfg.path("pki"), c.cfg.host()); err != nil {
		return err
	}
	adm, err := ensureAdmin(c.cfg.path("admin.json"))
	if err != nil {
		return fmt.Errorf("make administrator: %w", err)
	}
	yaml := strings.NewReplacer("{HOME}", c.cfg.Home, "{ADDR}", c.cfg.advertised(c.cfg.Port), "{BIND}", c.cfg.bind(c.cfg.Port)).Replace(controllerYAML)
	if err := writeFile(c.cfg.path("ctrl.yaml"), []byte(yaml)); err != nil {
		return err
	}
	cfg, err := config.LoadConfig(c.cfg.path("ctrl.yaml"))
	if err != nil {
		return fmt.Errorf("load controller configuration: %w", err)
	}
	f, err := fabric.NewController(cfg, zitiversion.GetCmdBuildInfo())
	if err != nil {
		return fmt.Errorf("make controller: %w", err)
	}
	if c.edge, err = edge.NewController(f); err != nil {
		return fmt.Errorf("make edge controller: %w", err)
	}
	c.edge.Initialize()
	// Asked for at every start: a former start may have been cut off between the database and its first entry.
	ids := c.edge.AppEnv.Managers.Identity
	present, err := ids.ReadDefaultAdmin()
	if err != nil && !boltz.IsErrNotFoundErr(err) {
		return fmt.Errorf("read administrator: %w", err)
	}
	if present == nil {
		if err := ids.InitializeDefaultAdmin(adm.User, adm.Password, "Nave"); err != nil {
			return fmt.Errorf("enter administrator: %w", err)
		}
	}
	c.edge.Run()

	g, ctx := errgroup.WithContext(ctx)
	g.Go(f.Run)
	g.Go(func() error {
		client, err := pinnedClient(c.cfg.path("pki/ca.pem"))
		if err != nil {
			return err
		}
		if err := awaitController(ctx, client, c.cfg.near(c.cfg.Port)); err != nil {
			return err
		}
		return ready()
	})
	return g.Wait()
}

func (c *controllerServer) shutdown() {
	if c.edge != nil {
		c.edge.Shutdown()
	}
}

// healthy implements server: the controller answers a request.
func (c *controllerServer) healthy(ctx context.Context) bool {
	client, err := pinnedClient(c.cfg.path("pki/ca.pem"))
	if err != nil {
		return false // there is no authority yet
	}
	client.Timeout = signEvery
	return answers(ctx, client, c.cfg.near(c.cfg.Port))
}

func pinnedClient(caFile string) (*http.Client, error) {
	pool, err := loadPool(caFile)
	if err != nil {
		return nil, err
	}
	return &http.Client{Timeout: time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true,
	}}, nil
}

func loadPool(caFile string) (*x509.CertPool, error) {
	b, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s holds no certificate", caFile)
	}
	return pool, nil
}

// awaitController waits until the controller answers, or ctx ends.
func awaitController(ctx context.Context, client *http.Client, addr string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if answers(ctx, client, addr) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.New("ended before the controller answered")
		case <-tick.C:
		}
	}
}

// answers reports whether the controller at addr answers a request.
func answers(ctx context.Context, client *http.Client, addr string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr+"/edge/client/v1/version", nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
