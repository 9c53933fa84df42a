// SPDX-License-Identifier: GPL-2.0
/*
 * A device for the lab of luo-trace. Its files are preserved through live updates; userspace
 * says how long each operation of their handler takes, and which one fails.
 *
 * The build puts this file into kernel/liveupdate/ (LUO exports nothing to modules).
 * Userspace's side: luo-trace/src/lab/workload/device.rs.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/anon_inodes.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/kexec_handover.h>
#include <linux/ktime.h>
#include <linux/liveupdate.h>
#include <linux/miscdevice.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/reboot.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#define LUO_LAB_MAX_STATE (1UL << 30)

/* What one operation does. All zeroes: it succeeds at once. */
struct luo_lab_op {
	__u64 spin_ns;		/* busy for so long */
	__u64 sleep_ns;		/* then asleep for so long */
	__s32 error;		/* a negative errno to end with */
	__u32 times;		/* how many times it fails, 0: always */
};

enum { CAN_PRESERVE, PRESERVE, UNPRESERVE, FREEZE, UNFREEZE, RETRIEVE, CAN_FINISH, FINISH,
       FILE_OPS };
enum { FLB_PRESERVE, FLB_UNPRESERVE, FLB_RETRIEVE, FLB_FINISH, FLB_OPS };

/* Argument of LUO_LAB_FILE: this file. Its state is then read and written as a file is. */
struct luo_lab_file_plan {
	__u64 state;		/* bytes of state to carry, up to LUO_LAB_MAX_STATE */
	struct luo_lab_op ops[FILE_OPS];
};

/* Argument of LUO_LAB_ALL: what all files share, and the way down. */
struct luo_lab_all_plan {
	struct luo_lab_op flb[2][FLB_OPS];
	struct luo_lab_op notifier;
	struct luo_lab_op shutdown;
};

#define LUO_LAB_FILE _IOW(0xbb, 0, struct luo_lab_file_plan)
#define LUO_LAB_ALL _IOW(0xbb, 1, struct luo_lab_all_plan)

struct luo_lab_file {
	struct mutex lock;
	struct luo_lab_file_plan plan;
	u8 *state;
};

/* What the next kernel gets of a file. */
struct luo_lab_ser {
	struct luo_lab_file_plan plan;
	struct kho_vmalloc state;
};

static DEFINE_MUTEX(luo_lab_all_lock);
static struct luo_lab_all_plan luo_lab_all;

static const struct file_operations luo_lab_fops;
static struct liveupdate_flb luo_lab_flb[2];

static int luo_lab_act(struct luo_lab_op *op)
{
	u64 end = ktime_get_ns() + op->spin_ns;

	if (op->spin_ns)
		while (ktime_get_ns() < end)
			cpu_relax();
	if (op->sleep_ns)
		fsleep(DIV_ROUND_UP_ULL(op->sleep_ns, NSEC_PER_USEC));
	if (op->error && op->times && !--op->times) {
		int error = op->error;

		op->error = 0;
		return error;
	}
	return op->error;
}

/* The file's operations. */

static bool luo_lab_luo_can_preserve(struct liveupdate_file_handler *handler, struct file *file)
{
	struct luo_lab_file *lab = file->private_data;

	return file->f_op == &luo_lab_fops && !luo_lab_act(&lab->plan.ops[CAN_PRESERVE]);
}

static int luo_lab_luo_preserve(struct liveupdate_file_op_args *args)
{
	struct luo_lab_file *lab = args->file->private_data;
	struct luo_lab_ser *ser;
	int err;

	err = luo_lab_act(&lab->plan.ops[PRESERVE]);
	if (err)
		return err;
	ser = kho_alloc_preserve(sizeof(*ser));
	if (IS_ERR(ser))
		return PTR_ERR(ser);
	if (lab->state) {
		err = kho_preserve_vmalloc(lab->state, &ser->state);
		if (err) {
			kho_unpreserve_free(ser);
			return err;
		}
	}
	args->serialized_data = virt_to_phys(ser);
	return 0;
}

static void luo_lab_luo_unpreserve(struct liveupdate_file_op_args *args)
{
	struct luo_lab_ser *ser = phys_to_virt(args->serialized_data);
	struct luo_lab_file *lab = args->file->private_data;

	luo_lab_act(&lab->plan.ops[UNPRESERVE]);
	if (lab->state)
		kho_unpreserve_vmalloc(&ser->state);
	kho_unpreserve_free(ser);
}

static int luo_lab_luo_freeze(struct liveupdate_file_op_args *args)
{
	struct luo_lab_ser *ser = phys_to_virt(args->serialized_data);
	struct luo_lab_file *lab = args->file->private_data;
	int err;

	err = luo_lab_act(&lab->plan.ops[FREEZE]);
	ser->plan = lab->plan;
	return err;
}

static void luo_lab_luo_unfreeze(struct liveupdate_file_op_args *args)
{
	struct luo_lab_file *lab = args->file->private_data;

	luo_lab_act(&lab->plan.ops[UNFREEZE]);
}

static int luo_lab_luo_retrieve(struct liveupdate_file_op_args *args)
{
	struct luo_lab_ser *ser = phys_to_virt(args->serialized_data);
	struct luo_lab_file *lab;
	struct file *file;
	void *obj;
	int err, i;

	for (i = 0; i < ARRAY_SIZE(luo_lab_flb); i++) {
		err = liveupdate_flb_get_incoming(&luo_lab_flb[i], &obj);
		if (err)
			return err;
		liveupdate_flb_put_incoming(&luo_lab_flb[i]);
	}
	err = luo_lab_act(&ser->plan.ops[RETRIEVE]);
	if (err)
		return err;

	lab = kzalloc(sizeof(*lab), GFP_KERNEL);
	if (!lab)
		return -ENOMEM;
	mutex_init(&lab->lock);
	lab->plan = ser->plan;
	file = anon_inode_getfile("[luo_lab]", &luo_lab_fops, lab, O_RDWR);
	if (IS_ERR(file)) {
		kfree(lab);
		return PTR_ERR(file);
	}
	file->f_mode |= FMODE_PREAD | FMODE_PWRITE;
	if (lab->plan.state) {
		/* Once only: a failed attempt has freed a part of it. */
		ser->plan.state = 0;
		lab->state = kho_restore_vmalloc(&ser->state);
		if (!lab->state) {
			fput(file);
			return -EIO;
		}
	}
	args->file = file;
	return 0;
}

/* What the operations of a file in the new kernel go by. */
static struct luo_lab_op *luo_lab_restored(struct liveupdate_file_op_args *args)
{
	struct luo_lab_ser *ser = phys_to_virt(args->serialized_data);

	if (args->file)
		return ((struct luo_lab_file *)args->file->private_data)->plan.ops;
	return ser->plan.ops;
}

static bool luo_lab_luo_can_finish(struct liveupdate_file_op_args *args)
{
	return !luo_lab_act(&luo_lab_restored(args)[CAN_FINISH]);
}

static void luo_lab_luo_finish(struct liveupdate_file_op_args *args)
{
	struct luo_lab_ser *ser = phys_to_virt(args->serialized_data);

	luo_lab_act(&luo_lab_restored(args)[FINISH]);
	if (!args->file && ser->plan.state)
		vfree(kho_restore_vmalloc(&ser->state));
	kho_restore_free(ser);
}

static const struct liveupdate_file_ops luo_lab_luo_ops = {
	.can_preserve = luo_lab_luo_can_preserve,
	.preserve = luo_lab_luo_preserve,
	.unpreserve = luo_lab_luo_unpreserve,
	.freeze = luo_lab_luo_freeze,
	.unfreeze = luo_lab_luo_unfreeze,
	.retrieve = luo_lab_luo_retrieve,
	.can_finish = luo_lab_luo_can_finish,
	.finish = luo_lab_luo_finish,
	.owner = THIS_MODULE,
};

static struct liveupdate_file_handler luo_lab_handler = {
	.ops = &luo_lab_luo_ops,
	.compatible = "luo-lab-v1",
};

/* What all files share: two objects, each made with the first file and gone with the last. */

static struct luo_lab_op *luo_lab_flb_plan(struct liveupdate_flb_op_args *args)
{
	return luo_lab_all.flb[args->flb - luo_lab_flb];
}

static int luo_lab_flb_preserve(struct liveupdate_flb_op_args *args)
{
	struct luo_lab_op *plan = luo_lab_flb_plan(args), *ser;
	int err;

	err = luo_lab_act(&plan[FLB_PRESERVE]);
	if (err)
		return err;
	ser = kho_alloc_preserve(sizeof(*ser) * FLB_OPS);
	if (IS_ERR(ser))
		return PTR_ERR(ser);
	memcpy(ser, plan, sizeof(*ser) * FLB_OPS);
	args->data = virt_to_phys(ser);
	args->obj = ser;
	return 0;
}

static void luo_lab_flb_unpreserve(struct liveupdate_flb_op_args *args)
{
	luo_lab_act(&luo_lab_flb_plan(args)[FLB_UNPRESERVE]);
	kho_unpreserve_free(args->obj);
}

static int luo_lab_flb_retrieve(struct liveupdate_flb_op_args *args)
{
	struct luo_lab_op *ser = phys_to_virt(args->data);

	args->obj = ser;
	return luo_lab_act(&ser[FLB_RETRIEVE]);
}

static void luo_lab_flb_finish(struct liveupdate_flb_op_args *args)
{
	struct luo_lab_op *ser = args->obj;

	luo_lab_act(&ser[FLB_FINISH]);
	kho_restore_free(ser);
}

static const struct liveupdate_flb_ops luo_lab_flb_ops = {
	.preserve = luo_lab_flb_preserve,
	.unpreserve = luo_lab_flb_unpreserve,
	.retrieve = luo_lab_flb_retrieve,
	.finish = luo_lab_flb_finish,
	.owner = THIS_MODULE,
};

static struct liveupdate_flb luo_lab_flb[2] = {
	{ .ops = &luo_lab_flb_ops, .compatible = "luo-lab-a-v1" },
	{ .ops = &luo_lab_flb_ops, .compatible = "luo-lab-b-v1" },
};

/* The device. */

static int luo_lab_open(struct inode *inode, struct file *file)
{
	struct luo_lab_file *lab = kzalloc(sizeof(*lab), GFP_KERNEL);

	if (!lab)
		return -ENOMEM;
	mutex_init(&lab->lock);
	file->private_data = lab;
	return 0;
}

static int luo_lab_release(struct inode *inode, struct file *file)
{
	struct luo_lab_file *lab = file->private_data;

	vfree(lab->state);
	kfree(lab);
	return 0;
}

static long luo_lab_plan_file(struct luo_lab_file *lab, void __user *from)
{
	struct luo_lab_file_plan plan;
	u8 *state = NULL;

	if (copy_from_user(&plan, from, sizeof(plan)))
		return -EFAULT;
	if (plan.state > LUO_LAB_MAX_STATE)
		return -EINVAL;
	guard(mutex)(&lab->lock);
	/* Preserved state stays where it is. */
	if (lab->state) {
		if (plan.state != lab->plan.state)
			return -EBUSY;
	} else if (plan.state) {
		state = vzalloc(plan.state);
		if (!state)
			return -ENOMEM;
		lab->state = state;
	}
	lab->plan = plan;
	return 0;
}

static long luo_lab_plan_all(void __user *from)
{
	guard(mutex)(&luo_lab_all_lock);
	return copy_from_user(&luo_lab_all, from, sizeof(luo_lab_all)) ? -EFAULT : 0;
}

static long luo_lab_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *from = (void __user *)arg;

	switch (cmd) {
	case LUO_LAB_FILE:
		return luo_lab_plan_file(file->private_data, from);
	case LUO_LAB_ALL:
		return luo_lab_plan_all(from);
	default:
		return -ENOTTY;
	}
}

static ssize_t luo_lab_read(struct file *file, char __user *to, size_t count, loff_t *at)
{
	struct luo_lab_file *lab = file->private_data;

	guard(mutex)(&lab->lock);
	return simple_read_from_buffer(to, count, at, lab->state, lab->plan.state);
}

static ssize_t luo_lab_write(struct file *file, const char __user *from, size_t count, loff_t *at)
{
	struct luo_lab_file *lab = file->private_data;

	guard(mutex)(&lab->lock);
	return simple_write_to_buffer(lab->state, lab->plan.state, at, from, count);
}

static const struct file_operations luo_lab_fops = {
	.owner = THIS_MODULE,
	.open = luo_lab_open,
	.release = luo_lab_release,
	.read = luo_lab_read,
	.write = luo_lab_write,
	.unlocked_ioctl = luo_lab_ioctl,
};

static struct miscdevice luo_lab_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "luo_lab",
	.fops = &luo_lab_fops,
	.mode = 0600,
};

/* The way down: a reboot notifier, and the shutdown of a device. */

static int luo_lab_notify(struct notifier_block *block, unsigned long action, void *data)
{
	luo_lab_act(&luo_lab_all.notifier);
	return NOTIFY_DONE;
}

static struct notifier_block luo_lab_notifier = { .notifier_call = luo_lab_notify };

static void luo_lab_shutdown(struct platform_device *device)
{
	luo_lab_act(&luo_lab_all.shutdown);
}

static struct platform_driver luo_lab_driver = {
	.shutdown = luo_lab_shutdown,
	.driver = { .name = "luo_lab" },
};

/* The way up: an initcall that takes as long as the command line says. */

static ulong initcall_us;
module_param(initcall_us, ulong, 0444);
MODULE_PARM_DESC(initcall_us, "how long an initcall is busy, microseconds");

static int __init luo_lab_busy(void)
{
	struct luo_lab_op op = { .spin_ns = (u64)initcall_us * NSEC_PER_USEC };

	return luo_lab_act(&op);
}
device_initcall(luo_lab_busy);

/* A kernel that does not know the files of the one before: it refuses what that one preserved. */
static bool handler = true;
module_param(handler, bool, 0444);
MODULE_PARM_DESC(handler, "whether this kernel knows the device's files");

static int __init luo_lab_init(void)
{
	int err, i;

	if (!liveupdate_enabled() || !handler)
		return 0;
	err = liveupdate_register_file_handler(&luo_lab_handler);
	for (i = 0; !err && i < ARRAY_SIZE(luo_lab_flb); i++)
		err = liveupdate_register_flb(&luo_lab_handler, &luo_lab_flb[i]);
	if (!err)
		err = misc_register(&luo_lab_misc);
	if (!err)
		err = register_reboot_notifier(&luo_lab_notifier);
	if (!err)
		err = platform_driver_register(&luo_lab_driver);
	if (!err)
		err = PTR_ERR_OR_ZERO(platform_device_register_simple("luo_lab", -1, NULL, 0));
	if (err)
		pr_err("the device is not there: %pe\n", ERR_PTR(err));
	return err;
}
late_initcall(luo_lab_init);
