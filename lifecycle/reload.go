package lifecycle

// ReloadFailure says why a configuration was not taken over. The set is closed.
type ReloadFailure uint8

const (
	ReloadTaken      ReloadFailure = iota // it was
	ReloadUnreadable                      // the file can't be read
	ReloadInvalid                         // what it says is wrong, or a file that it names is
	ReloadRestart                         // it changes what only a restart can change
	ReloadListen                          // an address can't be listened on
	ReloadState                           // the process is starting, upgrading or draining
	reloadFailureCount
)

var reloadFailureNames = [reloadFailureCount]string{"", "unreadable", "invalid", "restart_required", "listen_failed", "wrong_state"}

func (f ReloadFailure) String() string { return name(reloadFailureNames[:], f) }

// ReloadFailures lists every value, ReloadTaken first.
func ReloadFailures() []ReloadFailure {
	all := make([]ReloadFailure, reloadFailureCount)
	for i := range all {
		all[i] = ReloadFailure(i)
	}
	return all
}

// Reload is an attempt at another configuration.
type Reload struct {
	Cause      string // who asked: a signal, a changed file, the admin API
	Generation int    // in force afterwards
	Failure    ReloadFailure
	Err        error    // what is wrong; nil if it was taken over
	Changed    []string // routes changed or removed
}
