// SPDX-License-Identifier: Apache-2.0
#include "os/cpu.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <string>

namespace procession::os {

namespace {

constexpr double kUnlimited = std::numeric_limits<double>::infinity();

// The affinity mask of this thread.
class Affinity {
 public:
  Affinity() {
    // The kernel refuses a mask that is smaller than its own: grow it until it fits.
    for (int cpus = 1024; cpus <= 1 << 20 && count_ == 0; cpus *= 2) {
      CPU_FREE(set_);
      set_ = CPU_ALLOC(static_cast<std::size_t>(cpus));
      size_ = CPU_ALLOC_SIZE(static_cast<std::size_t>(cpus));
      if (::sched_getaffinity(0, size_, set_) == 0) count_ = CPU_COUNT_S(size_, set_);
    }
  }
  ~Affinity() { CPU_FREE(set_); }
  Affinity(const Affinity&) = delete;
  Affinity& operator=(const Affinity&) = delete;

  int count() const noexcept { return count_; }

  void move_away_from(int cpu) noexcept {
    auto number = static_cast<std::size_t>(cpu);
    if (count_ < 2 || cpu < 0 || !CPU_ISSET_S(number, size_, set_)) return;
    CPU_CLR_S(number, size_, set_);
    ::sched_setaffinity(0, size_, set_);
    CPU_SET_S(number, size_, set_);
    ::sched_setaffinity(0, size_, set_);
  }

 private:
  cpu_set_t* set_ = nullptr;
  std::size_t size_ = 0;
  int count_ = 0;
};

// "max 100000" or "150000 100000".
double quota_v2(const std::string& folder) {
  std::ifstream file(folder + "/cpu.max");
  double quota = 0;
  double period = 0;
  return file >> quota >> period && quota > 0 && period > 0 ? quota / period : kUnlimited;
}

double quota_v1(const std::string& folder) {
  double quota = 0;
  double period = 0;
  std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;
  std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  return quota > 0 && period > 0 ? quota / period : kUnlimited;
}

// The smallest quota from the process's own cgroup up to the root.
double cgroup_quota() {
  double least = kUnlimited;
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    std::size_t controllers = line.find(':') + 1;
    std::size_t path_at = line.find(':', controllers);
    if (controllers == 0 || path_at == std::string::npos) continue;
    std::string names = "," + line.substr(controllers, path_at - controllers) + ",";
    bool v2 = names == ",,";
    if (!v2 && names.find(",cpu,") == std::string::npos) continue;
    std::string root = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu";
    std::string path = line.substr(path_at + 1);
    while (true) {
      least = std::min(least, v2 ? quota_v2(root + path) : quota_v1(root + path));
      if (path.empty() || path == "/") break;
      path.erase(path.rfind('/'));
    }
  }
  return least;
}

}  // namespace

int affine_cpus() {
  int count = Affinity().count();
  return count > 0 ? count : static_cast<int>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
}

int usable_cpus() {
  int cpus = affine_cpus();
  double quota = cgroup_quota();
  if (quota < cpus) cpus = static_cast<int>(std::ceil(quota));
  return std::max(1, cpus);
}

int current_cpu() noexcept { return ::sched_getcpu(); }

void move_to_another_cpu() noexcept { Affinity().move_away_from(current_cpu()); }

void yield() noexcept { ::sched_yield(); }

}  // namespace procession::os
