// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define ENTRAIN_OWN_FIBERS 1
#else
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

// A function with a stack of its own, that runs when it is entered and stands still when it leaves. It must never return. swapcontext()
// would do, but asks the operating system about signals at every switch, which took three quarters of the time of a kernel with barriers.

namespace entrain::emulated {

#if defined(ENTRAIN_OWN_FIBERS)
// What a call must preserve (System V ABI) goes onto this stack, and comes back from the other.
[[gnu::naked, gnu::noinline]] inline void switch_stacks([[maybe_unused]] void** leave, [[maybe_unused]] void* enter) {
  asm("pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
      "movq %rsp, (%rdi)\n movq %rsi, %rsp\n"
      "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n ret\n");
}
#endif

class fiber {
 public:
  // number: of those that take turns. Their stacks begin at different places in a page, or they would share few lines of the cache.
  fiber(void (*function)(), std::size_t number) : stack_(std::make_unique<unsigned char[]>(stack_bytes)), function_(function) {
#if defined(ENTRAIN_OWN_FIBERS)
    auto* top = reinterpret_cast<void**>((reinterpret_cast<std::uintptr_t>(stack_.get()) + stack_bytes - number * 448 % 8192) / 16 * 16);
    top[-1] = nullptr;  // where the function would return to
    top[-2] = reinterpret_cast<void*>(function_);
    for (int i = 3; i <= 8; ++i) top[-i] = nullptr;  // registers
    inside_ = top - 8;
#else
    (void)number;
    getcontext(&inside_);
    inside_.uc_stack.ss_sp = stack_.get(), inside_.uc_stack.ss_size = stack_bytes, inside_.uc_link = nullptr;
    const auto address = reinterpret_cast<std::uintptr_t>(this);
    makecontext(&inside_, reinterpret_cast<void (*)()>(&fiber::start), 2, unsigned(address >> 32), unsigned(address));
#endif
  }
  fiber(const fiber&) = delete;

  void enter() {
#if defined(ENTRAIN_OWN_FIBERS)
    switch_stacks(&outside_, inside_);
#else
    start_switch(&fake_outside_, stack_.get(), stack_bytes);
    swapcontext(&outside_, &inside_);
    finish_switch(fake_outside_, false);
#endif
  }
  void leave() {
#if defined(ENTRAIN_OWN_FIBERS)
    switch_stacks(&inside_, outside_);
#else
    start_switch(&fake_inside_, outer_stack_, outer_bytes_);
    swapcontext(&inside_, &outside_);
    finish_switch(fake_inside_, true);
#endif
  }

 private:
  static constexpr std::size_t stack_bytes = 128 * 1024;

  std::unique_ptr<unsigned char[]> stack_;
  void (*function_)();
#if defined(ENTRAIN_OWN_FIBERS)
  void *inside_ = nullptr, *outside_ = nullptr;
#else
  static void start(unsigned high, unsigned low) {
    auto* self = reinterpret_cast<fiber*>(std::uintptr_t(high) << 32 | low);
    self->finish_switch(nullptr, true);
    self->function_();
  }
  // The address sanitizer must know on which stack a program is.
  void start_switch([[maybe_unused]] void** fake, [[maybe_unused]] const void* stack, [[maybe_unused]] std::size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(fake, stack, bytes);
#endif
  }
  void finish_switch([[maybe_unused]] void* fake, [[maybe_unused]] bool inside) {
#if defined(__SANITIZE_ADDRESS__)
    if (inside) __sanitizer_finish_switch_fiber(fake, &outer_stack_, &outer_bytes_);
    else __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
  }
  ucontext_t inside_{}, outside_{};
  void *fake_inside_ = nullptr, *fake_outside_ = nullptr;
  const void* outer_stack_ = nullptr;
  std::size_t outer_bytes_ = 0;
#endif
};

}  // namespace entrain::emulated
