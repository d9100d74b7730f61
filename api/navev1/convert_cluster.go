package navev1

import (
	"maps"

	"github.com/nave-dev/nave/api"
)

// ClusterToProto returns the message of a cluster with its status.
func ClusterToProto(c api.Cluster) *Cluster {
	return &Cluster{
		Meta: &Meta{
			Organization: string(c.Org), Name: c.Name, Id: string(c.ID), Labels: maps.Clone(c.Labels), Etag: c.Etag,
			CreatedAt: timeToProto(c.CreatedAt), UpdatedAt: timeToProto(c.UpdatedAt),
		},
		Taints: each(c.Taints, func(t api.Taint) *Taint {
			return &Taint{Key: t.Key, Value: t.Value, Effect: string(t.Effect)}
		}),
		Cordoned: c.Cordoned,
		Status: &ClusterStatus{
			Health: string(c.Status.Health), HeardAt: timeToProto(c.Status.Heard), Version: c.Status.Version,
			Runtime: c.Status.Capacity.Runtime, Missing: clone(c.Status.Capacity.Missing), Sessions: uint32(c.Status.Sessions),
			Flavors: each(c.Status.Capacity.Flavors, func(f api.FlavorCapacity) *FlavorCapacity {
				return &FlavorCapacity{Flavor: f.Flavor, Total: int32(f.Total), Used: int32(f.Used)}
			}),
		},
	}
}

// ClusterFromProto is the inverse of [ClusterToProto], but for the overlay identity and the boot id, which do not travel.
func ClusterFromProto(m *Cluster) api.Cluster {
	meta, st := m.GetMeta(), m.GetStatus()
	return api.Cluster{
		ID: api.ClusterID(meta.GetId()), Org: api.OrgID(meta.GetOrganization()), Name: meta.GetName(), Labels: labelsFromProto(meta.GetLabels()),
		Taints: each(m.GetTaints(), func(t *Taint) api.Taint {
			return api.Taint{Key: t.GetKey(), Value: t.GetValue(), Effect: api.Effect(t.GetEffect())}
		}),
		Cordoned: m.GetCordoned(), Etag: meta.GetEtag(), CreatedAt: timeFromProto(meta.GetCreatedAt()), UpdatedAt: timeFromProto(meta.GetUpdatedAt()),
		Status: api.ClusterStatus{
			Health: api.Health(st.GetHealth()), Heard: timeFromProto(st.GetHeardAt()), Version: st.GetVersion(), Sessions: int(st.GetSessions()),
			Capacity: api.Capacity{
				Runtime: st.GetRuntime(), Missing: clone(st.GetMissing()),
				Flavors: each(st.GetFlavors(), func(f *FlavorCapacity) api.FlavorCapacity {
					return api.FlavorCapacity{Flavor: f.GetFlavor(), Total: int(f.GetTotal()), Used: int(f.GetUsed())}
				}),
			},
		},
	}
}
