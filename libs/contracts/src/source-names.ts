/** What names of files and folders say of a source of data. */

/** JPEG goes by five names, that of several views of a camera (MPO) among them: the first is read. */
export const IMAGE = /\.(jpe?g|jfif|jpe|mpo|png|webp|gif|tiff?|avif|bmp|dib|p[bgpn]m)$/i;

export const SOUND = /\.(wave?|aiff?|aifc|flac|mp3|ogg|oga|opus)$/i;
export const isImageOrSound = (name: string): boolean => IMAGE.test(name) || SOUND.test(name);

/** Also with what MMSegmentation and LoveDA have behind the word: `ann_dir`, `masks_png`. */
const folderCalled = (...words: readonly string[]): RegExp =>
  new RegExp(`^(?:${words.join('|')})(?:_(?:dir|png|jpe?g|tiff?))?$`, 'i');

/** Folders of images beside those of masks: of VOC (JPEGImages), Cityscapes (leftImg8bit) and all others. */
const IMAGES = 'images?|imgs?|jpegimages|leftimg8bit';
/**
 * Folders of masks: of VOC (SegmentationClass), Cityscapes (gtFine), ADE20K (annotations), Oxford's pets (trimaps),
 * MMSegmentation (ann_dir) and all others.
 */
const MASKS =
  'masks?|labels?|annotations?|annots?|anns?|trimaps?|segmentations?|segmentationclass(?:aug|raw)?|gtfine|gtcoarse';
/** Words that can be classes as well. */
const [MAYBE_IMAGES, MAYBE_MASKS] = ['inputs?|photos?|rgb', 'msks?|gts?|ground_?truths?|segs?|targets?'];

export const IMAGE_FOLDER = folderCalled(IMAGES, MAYBE_IMAGES);
export const MASK_FOLDER = folderCalled(MASKS, MAYBE_MASKS);
/** Those that are never called so for another reason. */
export const SURE_IMAGE_FOLDER = folderCalled(IMAGES);
export const SURE_MASK_FOLDER = folderCalled(MASKS);
/** Letters that are classes where there is anything else beside them. */
export const [IMAGE_LETTER, MASK_LETTER] = [/^x$/i, /^y$/i];
