package ziti

import (
	"context"
	"fmt"
	"slices"

	erp "github.com/openziti/edge-api/rest_management_api_client/edge_router_policy"
	"github.com/openziti/edge-api/rest_management_api_client/service"
	serp "github.com/openziti/edge-api/rest_management_api_client/service_edge_router_policy"
	sp "github.com/openziti/edge-api/rest_management_api_client/service_policy"
	"github.com/openziti/edge-api/rest_management_api_client/terminator"
	"github.com/openziti/edge-api/rest_model"
	edgeapis "github.com/openziti/sdk-golang/edge-apis"
)

type management = *edgeapis.ManagementApiClient

// EnsureNetwork makes what hubs and spokes need: the service, who may host it, who may dial it, and by which routers
// (all). It changes what differs and leaves alone what is right, so that repeating it disturbs no connection.
func (m *Manager) EnsureNetwork(ctx context.Context) error {
	id, err := m.ensureService(ctx)
	if err != nil {
		return fmt.Errorf("ensure overlay service: %w", err)
	}
	svc := rest_model.Roles{"@" + id}
	for _, p := range []struct {
		name string
		kind rest_model.DialBind
		role string
	}{{"nave-hub-bind", rest_model.DialBindBind, RoleHub}, {"nave-hub-dial", rest_model.DialBindDial, RoleSpoke}} {
		if err := m.ensureServicePolicy(ctx, p.name, p.kind, svc, rest_model.Roles{"#" + p.role}); err != nil {
			return fmt.Errorf("ensure overlay policy %s: %w", p.name, err)
		}
	}
	if err := m.ensureRouterPolicy(ctx, rest_model.Roles{"#" + RoleHub, "#" + RoleSpoke}); err != nil {
		return fmt.Errorf("ensure overlay router policy: %w", err)
	}
	if err := m.ensureServiceRouterPolicy(ctx, svc); err != nil {
		return fmt.Errorf("ensure overlay service router policy: %w", err)
	}
	return nil
}

// Hosts returns by how many routers the service can be reached, summed over the hubs that host it.
func (m *Manager) Hosts(ctx context.Context) (int, error) {
	filter := fmt.Sprintf("service.name=%q", HubService)
	all, err := pages(func(limit, offset int64) ([]*rest_model.TerminatorDetail, *rest_model.Meta, error) {
		l, err := call(ctx, m, func(ctx context.Context, c management) (*terminator.ListTerminatorsOK, error) {
			return c.API.Terminator.ListTerminators(&terminator.ListTerminatorsParams{Context: ctx, Filter: &filter, Limit: &limit, Offset: &offset}, nil)
		})
		if err != nil {
			return nil, nil, err
		}
		return l.Payload.Data, l.Payload.Meta, nil
	})
	if err != nil {
		return 0, fmt.Errorf("list overlay terminators: %w", err)
	}
	return len(all), nil
}

const routerPolicy, serviceRouterPolicy = "nave-routers", "nave-service-routers"

var (
	anyOf      = ptr(rest_model.SemanticAnyOf)
	allRouters = rest_model.Roles{"#all"}
)

func (m *Manager) ensureService(ctx context.Context) (string, error) {
	l, err := call(ctx, m, func(ctx context.Context, c management) (*service.ListServicesOK, error) {
		return c.API.Service.ListServices(&service.ListServicesParams{Context: ctx, Filter: byName(HubService)}, nil)
	})
	if err != nil {
		return "", err
	}
	if d := l.Payload.Data; len(d) > 0 {
		if !isOurs(d[0].Tags) {
			return "", &ForeignError{"service", HubService}
		}
		return *d[0].ID, nil
	}
	made, err := call(ctx, m, func(ctx context.Context, c management) (*service.CreateServiceCreated, error) {
		return c.API.Service.CreateService(&service.CreateServiceParams{Context: ctx, Service: &rest_model.ServiceCreate{
			Name: ptr(HubService), EncryptionRequired: ptr(true), TerminatorStrategy: "smartrouting", Tags: tags(),
		}}, nil)
	})
	if err != nil {
		return "", err
	}
	return made.Payload.Data.ID, nil
}

func (m *Manager) ensureServicePolicy(ctx context.Context, name string, kind rest_model.DialBind, svc, ids rest_model.Roles) error {
	l, err := call(ctx, m, func(ctx context.Context, c management) (*sp.ListServicePoliciesOK, error) {
		return c.API.ServicePolicy.ListServicePolicies(&sp.ListServicePoliciesParams{Context: ctx, Filter: byName(name)}, nil)
	})
	if err != nil {
		return err
	}
	if len(l.Payload.Data) == 0 {
		_, err = call(ctx, m, func(ctx context.Context, c management) (*sp.CreateServicePolicyCreated, error) {
			return c.API.ServicePolicy.CreateServicePolicy(&sp.CreateServicePolicyParams{Context: ctx, Policy: &rest_model.ServicePolicyCreate{
				Name: &name, Semantic: anyOf, Type: &kind, ServiceRoles: svc, IdentityRoles: ids, Tags: tags(),
			}}, nil)
		})
		return err
	}
	d := l.Payload.Data[0]
	if !isOurs(d.Tags) {
		return &ForeignError{"service policy", name}
	}
	if *d.Type == kind && sameRoles(d.ServiceRoles, svc) && sameRoles(d.IdentityRoles, ids) && len(d.PostureCheckRoles) == 0 {
		return nil
	}
	_, err = call(ctx, m, func(ctx context.Context, c management) (*sp.UpdateServicePolicyOK, error) {
		return c.API.ServicePolicy.UpdateServicePolicy(&sp.UpdateServicePolicyParams{Context: ctx, ID: *d.ID, Policy: &rest_model.ServicePolicyUpdate{
			Name: &name, Semantic: anyOf, Type: &kind, ServiceRoles: svc, IdentityRoles: ids, Tags: tags(),
		}}, nil)
	})
	return err
}

func (m *Manager) ensureRouterPolicy(ctx context.Context, ids rest_model.Roles) error {
	l, err := call(ctx, m, func(ctx context.Context, c management) (*erp.ListEdgeRouterPoliciesOK, error) {
		return c.API.EdgeRouterPolicy.ListEdgeRouterPolicies(&erp.ListEdgeRouterPoliciesParams{Context: ctx, Filter: byName(routerPolicy)}, nil)
	})
	if err != nil {
		return err
	}
	if len(l.Payload.Data) == 0 {
		_, err = call(ctx, m, func(ctx context.Context, c management) (*erp.CreateEdgeRouterPolicyCreated, error) {
			return c.API.EdgeRouterPolicy.CreateEdgeRouterPolicy(&erp.CreateEdgeRouterPolicyParams{Context: ctx, Policy: &rest_model.EdgeRouterPolicyCreate{
				Name: ptr(routerPolicy), Semantic: anyOf, EdgeRouterRoles: allRouters, IdentityRoles: ids, Tags: tags(),
			}}, nil)
		})
		return err
	}
	d := l.Payload.Data[0]
	if !isOurs(d.Tags) {
		return &ForeignError{"edge router policy", routerPolicy}
	}
	if sameRoles(d.EdgeRouterRoles, allRouters) && sameRoles(d.IdentityRoles, ids) {
		return nil
	}
	_, err = call(ctx, m, func(ctx context.Context, c management) (*erp.UpdateEdgeRouterPolicyOK, error) {
		return c.API.EdgeRouterPolicy.UpdateEdgeRouterPolicy(&erp.UpdateEdgeRouterPolicyParams{Context: ctx, ID: *d.ID, Policy: &rest_model.EdgeRouterPolicyUpdate{
			Name: ptr(routerPolicy), Semantic: anyOf, EdgeRouterRoles: allRouters, IdentityRoles: ids, Tags: tags(),
		}}, nil)
	})
	return err
}

func (m *Manager) ensureServiceRouterPolicy(ctx context.Context, svc rest_model.Roles) error {
	l, err := call(ctx, m, func(ctx context.Context, c management) (*serp.ListServiceEdgeRouterPoliciesOK, error) {
		return c.API.ServiceEdgeRouterPolicy.ListServiceEdgeRouterPolicies(&serp.ListServiceEdgeRouterPoliciesParams{Context: ctx, Filter: byName(serviceRouterPolicy)}, nil)
	})
	if err != nil {
		return err
	}
	if len(l.Payload.Data) == 0 {
		_, err = call(ctx, m, func(ctx context.Context, c management) (*serp.CreateServiceEdgeRouterPolicyCreated, error) {
			return c.API.ServiceEdgeRouterPolicy.CreateServiceEdgeRouterPolicy(&serp.CreateServiceEdgeRouterPolicyParams{Context: ctx, Policy: &rest_model.ServiceEdgeRouterPolicyCreate{
				Name: ptr(serviceRouterPolicy), Semantic: anyOf, EdgeRouterRoles: allRouters, ServiceRoles: svc, Tags: tags(),
			}}, nil)
		})
		return err
	}
	d := l.Payload.Data[0]
	if !isOurs(d.Tags) {
		return &ForeignError{"service edge router policy", serviceRouterPolicy}
	}
	if sameRoles(d.EdgeRouterRoles, allRouters) && sameRoles(d.ServiceRoles, svc) {
		return nil
	}
	_, err = call(ctx, m, func(ctx context.Context, c management) (*serp.UpdateServiceEdgeRouterPolicyOK, error) {
		return c.API.ServiceEdgeRouterPolicy.UpdateServiceEdgeRouterPolicy(&serp.UpdateServiceEdgeRouterPolicyParams{Context: ctx, ID: *d.ID, Policy: &rest_model.ServiceEdgeRouterPolicyUpdate{
			Name: ptr(serviceRouterPolicy), Semantic: anyOf, EdgeRouterRoles: allRouters, ServiceRoles: svc, Tags: tags(),
		}}, nil)
	})
	return err
}

func sameRoles(a, b rest_model.Roles) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}
