package ziti

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/openziti/edge-api/rest_model"
	"github.com/openziti/edge-api/rest_util"
	edgeapis "github.com/openziti/sdk-golang/edge-apis"

	"github.com/nave-dev/nave/internal/run"
)

const (
	// HubService is the one service of the network. Hubs host it, spokes dial it.
	HubService = "nave-hub"
	// RoleHub is the role of the identities that may host HubService.
	RoleHub = "nave-hub"
	// RoleSpoke is the role of the identities that may dial HubService.
	RoleSpoke = "nave-spoke"

	callBound = 15 * time.Second // of one management call
	pageSize  = 100              // of lists
)

// ManagerConfig is how to reach the controller's management API.
type ManagerConfig struct {
	Controller string       // base URL, such as https://127.0.0.1:1280. Required.
	User       string       // administrator. Required.
	Password   string       // of the administrator. Required.
	CA         []byte       // PEM of the authority to believe, and no other. Required.
	Log        *slog.Logger // default: nothing is logged

	Within time.Duration // bound of one request; default 15 s
}

// Manager keeps the network's identities, services and policies. Its methods may be called at the same time; each ends
// within the bound for every request that it makes.
type Manager struct {
	cfg  ManagerConfig
	pool *x509.CertPool
	base *url.URL

	mu     sync.Mutex
	client *edgeapis.ManagementApiClient // guarded by mu; replaced at a new login, nil after a call that had no answer
}

// Login returns a Manager that has proved itself to the controller.
func Login(ctx context.Context, cfg ManagerConfig) (*Manager, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(cfg.CA) {
		return nil, errors.New("overlay manager: CA holds no certificate in PEM")
	}
	u, err := url.Parse(cfg.Controller)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("overlay manager: Controller %q is not an https:// URL", cfg.Controller)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Within == 0 {
		cfg.Within = callBound
	}
	RouteLog(cfg.Log)
	m := &Manager{cfg: cfg, pool: pool, base: u.JoinPath("/edge/management/v1")}
	if _, err := m.login(ctx, nil); err != nil {
		return nil, err
	}
	return m, nil
}

// login makes a new session unless another call has done so since the caller got stale.
func (m *Manager) login(ctx context.Context, stale *edgeapis.ManagementApiClient) (*edgeapis.ManagementApiClient, error) {
	m.mu.Lock()
	current := m.client
	m.mu.Unlock()
	if current != stale {
		return current, nil
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Within)
	defer cancel()
	client, err := run.Bounded(ctx, func() (*edgeapis.ManagementApiClient, error) {
		c := edgeapis.NewManagementApiClient([]*url.URL{m.base}, m.pool, nil)
		c.SetAllowOidcDynamicallyEnabled(true)
		cred := edgeapis.NewUpdbCredentials(m.cfg.User, m.cfg.Password)
		cred.CaPool = m.pool
		_, err := c.Authenticate(cred, nil)
		return c, wrap(err)
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("log in to overlay controller %s: %w", m.cfg.Controller, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.client = client
	return client, nil
}

// call makes one request, again after a new login if the controller does not know the session any more. A client that had no
// answer within the bound is not used again: what it waits for may never come, and the next request would wait behind it.
func call[T any](ctx context.Context, m *Manager, f func(context.Context, *edgeapis.ManagementApiClient) (T, error)) (T, error) {
	var zero T
	m.mu.Lock()
	client := m.client
	m.mu.Unlock()
	if client == nil {
		var err error
		if client, err = m.login(ctx, nil); err != nil {
			return zero, err
		}
	}
	try := func() (T, error) {
		bound, cancel := context.WithTimeout(ctx, m.cfg.Within)
		defer cancel()
		v, err := run.Bounded(bound, func() (T, error) { return f(bound, client) }, nil)
		if bound.Err() != nil && ctx.Err() == nil {
			m.drop(client)
		}
		return v, err
	}
	v, err := try()
	if hasStatus(err, http.StatusUnauthorized) {
		if client, err = m.login(ctx, client); err != nil {
			return zero, err
		}
		v, err = try()
	}
	return v, wrap(err)
}

// drop lets the next call log in anew, unless another one has done so.
func (m *Manager) drop(client *edgeapis.ManagementApiClient) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.client == client {
		m.client = nil
		m.cfg.Log.Warn("the overlay's controller did not answer in time: the next request logs in anew", "bound", m.cfg.Within)
	}
}

// wrap makes the controller's errors readable; they print as addresses otherwise.
func wrap(err error) error {
	if err == nil {
		return nil
	}
	return rest_util.WrapErr(err)
}

// hasStatus reports whether err is an answer of the controller with that HTTP status.
func hasStatus(err error, status int) bool {
	var coded interface{ IsCode(int) bool }
	return errors.As(err, &coded) && coded.IsCode(status)
}

// tagKey marks what belongs to Nave.
const tagKey = "nave"

func tags() *rest_model.Tags {
	return &rest_model.Tags{SubTags: rest_model.SubTags{tagKey: true}}
}

func isOurs(t *rest_model.Tags) bool {
	if t == nil {
		return false
	}
	v, _ := t.SubTags[tagKey].(bool)
	return v
}

// ForeignError says that something of the name that Nave needs exists and is not Nave's.
type ForeignError struct {
	Kind, Name string
}

// Error implements error.
func (e *ForeignError) Error() string {
	return fmt.Sprintf("the overlay has a %s %q that Nave did not make: rename or remove it there", e.Kind, e.Name)
}

// pages calls list until all items were listed, and returns them.
func pages[T any](list func(limit, offset int64) ([]T, *rest_model.Meta, error)) ([]T, error) {
	var all []T
	for {
		items, meta, err := list(pageSize, int64(len(all)))
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
		if meta == nil || meta.Pagination == nil || meta.Pagination.TotalCount == nil {
			return nil, errors.New("the overlay controller's list has no total count")
		}
		// A page that is empty before the total is reached: something was removed meanwhile.
		if len(items) == 0 || int64(len(all)) >= *meta.Pagination.TotalCount {
			return all, nil
		}
	}
}

func ptr[T any](v T) *T { return &v }

func byName(name string) *string { return ptr(fmt.Sprintf("name=%q", name)) }
